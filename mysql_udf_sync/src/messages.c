/* The SQL functions that send: tcsql_push, tcsql_doorbell, http_post; and tcsql_udf_info, which says how that goes.
 *
 * None of them ever makes a statement fail: what cannot be sent is NULL (or 0), at the latest when the time of the
 * configuration file is over. They are called before the transaction commits, so what they say is a hint. */
#include "abi.h"
#include "sender.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FORM "application/x-www-form-urlencoded"
#define MOST_KEYS 8
#define MOST_NAME 256 /* bytes of a table's name: 64 letters */
#define MOST_QUERY 4096

/* What all functions here have in common: arguments as texts, may be NULL, and never taken for a constant that the
 * server may work out once for all rows. */
static udf_bool prepare(udf_init *init, udf_args *args, char *message, unsigned least, unsigned most, const char *name) {
    if (args->arg_count < least || args->arg_count > most) {
        snprintf(message, UDF_MESSAGE_SIZE, "Wrong arguments to %s", name);
        return 1;
    }
    for (unsigned at = 0; at < args->arg_count; at++)
        args->arg_type[at] = UDF_STRING;
    init->maybe_null = 1;
    init->const_item = 0;
    return 0;
}

static void add_parameter(struct text *head, const char *name, const udf_args *args, unsigned at) {
    text_add_string(head, name);
    text_add_encoded(head, args->args[at], args->lengths[at]);
}

/* The keys that are not NULL, one a line. The number of parts; 0: there is no key. */
static size_t key_lines(const udf_args *args, struct iovec *parts, size_t *length) {
    size_t count = 0;
    *length = 0;
    for (unsigned at = 2; at < args->arg_count; at++) {
        if (args->args[at] == NULL)
            continue;
        if (count > 0)
            parts[count++] = (struct iovec){.iov_base = (char *)"\n", .iov_len = 1};
        parts[count++] = (struct iovec){.iov_base = args->args[at], .iov_len = args->lengths[at]};
        *length += args->lengths[at] + 1;
    }
    return count;
}

UDF_EXPORT udf_bool tcsql_push_init(udf_init *init, udf_args *args, char *message) {
    return prepare(init, args, message, 3, 2 + MOST_KEYS, "tcsql_push");
}

/* tcsql_push(table, op, key, ...): "these keys of this table may have changed". The HTTP status, or NULL. */
UDF_EXPORT long long tcsql_push(udf_init *init, udf_args *args, char *is_null, char *error) {
    (void)init, (void)error;
    struct iovec keys[2 * MOST_KEYS];
    size_t length, count = key_lines(args, keys, &length);
    *is_null = 1;
    if (count == 0 || args->args[0] == NULL || args->args[1] == NULL)
        return 0;
    if (args->lengths[0] > MOST_NAME || args->lengths[1] > MOST_NAME ||
        length - 1 > (size_t)sender_config()->max_body) {
        sender_lose(TARGET);
        return 0;
    }
    struct text *head = sender_begin(TARGET);
    if (head == NULL)
        return 0;
    text_add_string(head, "command=hint&source=");
    text_add_string(head, sender_config()->source);
    add_parameter(head, "&table=", args, 0);
    add_parameter(head, "&op=", args, 1);
    int status = sender_finish(TARGET, "text/plain; charset=utf-8", keys, count);
    *is_null = status == 0;
    return status;
}

UDF_EXPORT udf_bool http_post_init(udf_init *init, udf_args *args, char *message) {
    return prepare(init, args, message, 3, 4, "http_post");
}

/* The number of the allowed receiver that is spelt host:port; 0: there is none. */
static size_t allowed_peer(const udf_args *args) {
    const struct config *config = sender_config();
    char name[64];
    if (args->lengths[0] > 45 || args->lengths[1] > 5)
        return 0;
    bool six = memchr(args->args[0], ':', args->lengths[0]) != NULL;
    snprintf(name, sizeof name, six ? "[%.*s]:%.*s" : "%.*s:%.*s", (int)args->lengths[0], args->args[0],
             (int)args->lengths[1], args->args[1]);
    for (size_t at = 0; at < config->allowed; at++)
        if (strcmp(name, config->allow[at].name) == 0)
            return at + 1;
    return 0;
}

/* http_post(host, port, query [, body]), as the TCSQL of 2010 had it: POST /?query. The HTTP status, or NULL. */
UDF_EXPORT long long http_post(udf_init *init, udf_args *args, char *is_null, char *error) {
    (void)init, (void)error;
    *is_null = 1;
    for (unsigned at = 0; at < args->arg_count; at++)
        if (args->args[at] == NULL)
            return 0;
    size_t peer = allowed_peer(args);
    if (peer == 0)
        return 0;
    struct iovec body = {.iov_base = (char *)"", .iov_len = 0};
    if (args->arg_count == 4)
        body = (struct iovec){.iov_base = args->args[3], .iov_len = args->lengths[3]};
    if (args->lengths[2] > MOST_QUERY || body.iov_len > (size_t)sender_config()->max_body) {
        sender_lose(peer);
        return 0;
    }
    struct text *head = sender_begin(peer);
    if (head == NULL)
        return 0;
    text_add_query(head, args->args[2], args->lengths[2]);
    int status = sender_finish(peer, FORM, &body, 1);
    *is_null = status == 0;
    return status;
}

UDF_EXPORT udf_bool tcsql_doorbell_init(udf_init *init, udf_args *args, char *message) {
    return prepare(init, args, message, 0, 0, "tcsql_doorbell");
}

/* One socket for the whole process, made at the first ring: it is bound to nobody, and a datagram is sent whole. */
static int bell_socket(void) {
    static atomic_int shared = -1;
    int bell = atomic_load(&shared);
    if (bell >= 0)
        return bell;
    int none = -1;
    bell = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (bell >= 0 && !atomic_compare_exchange_strong(&shared, &none, bell)) {
        close(bell); /* another thread was first */
        return none;
    }
    return bell;
}

/* tcsql_doorbell(): one datagram, without waiting. 1: it rings, or rings already (the queue is full); 0: nobody there. */
UDF_EXPORT long long tcsql_doorbell(udf_init *init, udf_args *args, char *is_null, char *error) {
    (void)init, (void)args, (void)is_null, (void)error;
    const struct config *config = sender_config();
    int bell = config->doorbell_length > 0 ? bell_socket() : -1;
    if (bell < 0)
        return 0;
    ssize_t sent = sendto(bell, "1", 1, MSG_DONTWAIT | MSG_NOSIGNAL, (const struct sockaddr *)&config->doorbell,
                          config->doorbell_length);
    return sent == 1 || errno == EAGAIN || errno == ENOBUFS;
}

UDF_EXPORT udf_bool tcsql_udf_info_init(udf_init *init, udf_args *args, char *message) {
    init->max_length = 65535;
    init->ptr = NULL;
    return prepare(init, args, message, 0, 0, "tcsql_udf_info");
}

UDF_EXPORT void tcsql_udf_info_deinit(udf_init *init) {
    free(init->ptr);
}

/* tcsql_udf_info(): version, configuration and counters of this server process as JSON. Tells no secret. */
UDF_EXPORT char *tcsql_udf_info(
    udf_init *init, udf_args *args, char *result, unsigned long *length, char *is_null, char *error) {
    (void)args, (void)result, (void)error;
    struct text text = {0};
    const char *wrong = sender_config_problem();
    text_add_string(&text, "{\"version\":\"" TCSQL_UDF_VERSION "\",\"configuration\":");
    text_add_json_string(&text, wrong[0] == '\0' ? "ok" : wrong, strlen(wrong[0] == '\0' ? "ok" : wrong));
    text_add_string(&text, ",\"receivers\":[");
    for (size_t peer = 0; peer <= sender_config()->allowed; peer++) {
        struct sender_counts counts = sender_counts(peer);
        char line[256];
        snprintf(line, sizeof line,
                 "%s{\"delivered\":%llu,\"failed\":%llu,\"lost\":%llu,\"circuit\":\"%s\",\"problem\":\"%s\"}",
                 peer > 0 ? "," : "", counts.delivered, counts.failed, counts.lost, counts.open ? "open" : "closed",
                 counts.problem);
        text_add_string(&text, line);
    }
    text_add_string(&text, "]}");
    free(init->ptr); /* that of the row before */
    init->ptr = text.bytes;
    *is_null = text.failed;
    *length = text.failed ? 0 : text.used;
    return text.failed ? NULL : text.bytes;
}
