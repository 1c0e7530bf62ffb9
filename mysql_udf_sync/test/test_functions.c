/* The functions as a server calls them: init, one call a row, deinit; by several threads at a time. */
#include "abi.h"
#include "check.h"
#include "breaker.h"
#include "sender.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define INTEGER(name) \
    udf_bool name##_init(udf_init *, udf_args *, char *); \
    long long name(udf_init *, udf_args *, char *, char *)
#define STRING(name) \
    udf_bool name##_init(udf_init *, udf_args *, char *); \
    char *name(udf_init *, udf_args *, char *, unsigned long *, char *, char *); \
    void name##_deinit(udf_init *)

INTEGER(tcsql_push);
INTEGER(http_post);
INTEGER(tcsql_doorbell);
STRING(urlencode);
STRING(tcsql_json_object);
STRING(tcsql_udf_info);

#define MOST_ARGUMENTS 12
#define NOTHING (-1)

struct argument {
    enum udf_type type;
    const void *value;
    unsigned long length;
    const char *name;
};

struct call {
    udf_init init;
    udf_args args;
    enum udf_type types[MOST_ARGUMENTS];
    char *values[MOST_ARGUMENTS], *names[MOST_ARGUMENTS];
    unsigned long lengths[MOST_ARGUMENTS], name_lengths[MOST_ARGUMENTS];
    char message[UDF_MESSAGE_SIZE], is_null, error;
};

#define TEXT(string) {UDF_STRING, string, sizeof(string) - 1, NULL}
#define NULL_ARGUMENT {UDF_STRING, NULL, 0, NULL}

/* Arguments are copied to where they just fit, without a NUL behind them, as servers may pass them. */
static void begin(struct call *call, const struct argument *arguments, unsigned count) {
    *call = (struct call){.args = {.arg_count = count}};
    for (unsigned at = 0; at < count; at++) {
        const struct argument *from = &arguments[at];
        call->types[at] = from->type;
        call->lengths[at] = from->length;
        if (from->value != NULL)
            call->values[at] = memcpy(malloc(from->length + 1), from->value, from->length);
        if (from->value != NULL && from->length > 0)
            call->values[at] = realloc(call->values[at], from->length);
        call->names[at] = from->name == NULL ? NULL : memcpy(malloc(strlen(from->name)), from->name, strlen(from->name));
        call->name_lengths[at] = from->name == NULL ? 0 : strlen(from->name);
    }
    call->args.arg_type = call->types;
    call->args.args = call->values;
    call->args.lengths = call->lengths;
    call->args.attributes = call->names;
    call->args.attribute_lengths = call->name_lengths;
}

static void end(struct call *call) {
    for (unsigned at = 0; at < call->args.arg_count; at++) {
        free(call->values[at]);
        free(call->names[at]);
    }
}

typedef udf_bool integer_init(udf_init *, udf_args *, char *);
typedef long long integer_function(udf_init *, udf_args *, char *, char *);
typedef char *string_function(udf_init *, udf_args *, char *, unsigned long *, char *, char *);
typedef void deinit_function(udf_init *);

static long long integer(integer_init *init, integer_function *function, const struct argument *arguments, unsigned count) {
    struct call call;
    begin(&call, arguments, count);
    CHECK(init(&call.init, &call.args, call.message) == 0 && call.init.const_item == 0);
    long long result = function(&call.init, &call.args, &call.is_null, &call.error);
    CHECK(call.error == 0);
    end(&call);
    return call.is_null ? NOTHING : result;
}

static long long push(const struct argument *arguments, unsigned count) {
    return integer(tcsql_push_init, tcsql_push, arguments, count);
}

static long long post(const struct argument *arguments, unsigned count) {
    return integer(http_post_init, http_post, arguments, count);
}

/* The result of the second of two rows, as a string of ours; NULL for NULL. */
static char *string(
    integer_init *init, string_function *function, deinit_function *deinit, const struct argument *arguments, unsigned count) {
    struct call call;
    char buffer[255], *copy = NULL;
    begin(&call, arguments, count);
    CHECK(init(&call.init, &call.args, call.message) == 0);
    for (int row = 0; row < 2; row++) {
        unsigned long length = sizeof buffer;
        call.is_null = 0;
        char *result = function(&call.init, &call.args, buffer, &length, &call.is_null, &call.error);
        free(copy);
        copy = call.is_null ? NULL : strndup(result, length);
    }
    deinit(&call.init);
    end(&call);
    return copy;
}

#define STRING_IS(function, arguments, expected) \
    do { \
        char *given = string(function##_init, function, function##_deinit, arguments, sizeof arguments / sizeof arguments[0]); \
        if (strcmp(given == NULL ? "NULL" : given, expected) != 0) \
            fprintf(stderr, "%s instead of %s\n", given, expected); \
        CHECK(strcmp(given == NULL ? "NULL" : given, expected) == 0); \
        free(given); \
    } while (0)

static void encodes(void) {
    struct argument text[] = {TEXT("a b\0")}, nothing[] = {NULL_ARGUMENT}, empty[] = {TEXT("")};
    STRING_IS(urlencode, text, "a%20b%00");
    STRING_IS(urlencode, nothing, "NULL");
    STRING_IS(urlencode, empty, "");
    long long number = -7;
    double real = 0.1;
    struct argument members[] = {
        {UDF_INT, &number, 8, "feedid as pkey" + 10}, {UDF_REAL, &real, 8, "NEW.share"}, {UDF_DECIMAL, "007.50", 6, "`t`.`price`"},
        {UDF_STRING, "a\"\0", 3, "na\"me"}, {UDF_STRING, NULL, 0, "none"}, {UDF_INT, NULL, 0, "no_number"},
        {UDF_STRING, "", 0, NULL},
    };
    STRING_IS(tcsql_json_object, members,
              "{\"pkey\":-7,\"share\":0.1,\"price\":7.50,\"na\\\"me\":\"a\\\"\\u0000\",\"none\":null,\"no_number\":null,\"\":\"\"}");
    char *none = string(tcsql_json_object_init, tcsql_json_object, tcsql_json_object_deinit, NULL, 0);
    CHECK(strcmp(none, "{}") == 0);
    free(none);
}

static void refuses_wrong_numbers_of_arguments(void) {
    struct argument texts[11] = {TEXT("a"), TEXT("b"), TEXT("c"), TEXT("d"), TEXT("e")};
    struct call call;
    static const struct {
        integer_init *init;
        unsigned count;
    } cases[] = {{http_post_init, 2}, {http_post_init, 5}, {tcsql_push_init, 2}, {tcsql_push_init, 11},
                 {tcsql_doorbell_init, 1}, {urlencode_init, 0}, {urlencode_init, 2}, {tcsql_udf_info_init, 1}};
    for (size_t at = 0; at < sizeof cases / sizeof cases[0]; at++) {
        begin(&call, texts, cases[at].count);
        CHECK(cases[at].init(&call.init, &call.args, call.message) == 1);
        CHECK(strncmp(call.message, "Wrong arguments to ", 19) == 0);
        end(&call);
    }
}

static bool last_has(struct receiver *receiver, const char *expected) {
    pthread_mutex_lock(&receiver->mutex);
    receiver->last[receiver->last_length] = '\0';
    bool found = strstr(receiver->last, expected) != NULL;
    if (!found)
        fprintf(stderr, "%s\nlacks %s\n", receiver->last, expected);
    pthread_mutex_unlock(&receiver->mutex);
    return found;
}

static void *push_many(void *pointer) {
    struct argument arguments[] = {TEXT("posts"), TEXT("U"), TEXT("1"), TEXT("2")};
    for (int at = 0; at < 50; at++)
        if (push(arguments, 4) == 200)
            ++*(int *)pointer;
    return NULL;
}

/* Each thread ends: its connection is closed by then, or the receiver, which serves one at a time, would hang. */
static void threads(struct receiver *receiver) {
    int before = receiver_requests(receiver);
    for (int round = 0; round < 8; round++) {
        pthread_t thread;
        int fine = 0;
        pthread_create(&thread, NULL, push_many, &fine);
        pthread_join(thread, NULL);
        CHECK(fine == 50);
    }
    CHECK(receiver_requests(receiver) == before + 400);
}

static void *try_out(void *pointer) {
    struct receiver *receiver = pointer;
    struct argument odd[] = {TEXT("gr\xc3\xb6\xc3\x9f" "e&a=b\r\n"), TEXT("U"), TEXT("new"), NULL_ARGUMENT, TEXT("o\0d")};
    CHECK(push(odd, 5) == 200);
    CHECK(last_has(receiver, "POST /?command=hint&source=shop&table=gr%C3%B6%C3%9Fe%26a%3Db%0D%0A&op=U HTTP/1.1\r\n"));
    CHECK(last_has(receiver, "\r\nAuthorization: Bearer secret\r\n") && last_has(receiver, "\r\n\r\nnew\no"));
    CHECK(memcmp(receiver->last + receiver->last_length - 7, "new\no\0d", 7) == 0);
    struct argument no_key[] = {TEXT("posts"), TEXT("U"), NULL_ARGUMENT}, no_table[] = {NULL_ARGUMENT, TEXT("U"), TEXT("1")};
    CHECK(push(no_key, 3) == NOTHING && push(no_table, 3) == NOTHING);
    char *big = malloc(65537);
    memset(big, 'x', 65537);
    struct argument fits[] = {TEXT("t"), TEXT("I"), {UDF_STRING, big, 65536, NULL}}, too_big[] = {TEXT("t"), TEXT("I"), {UDF_STRING, big, 65537, NULL}};
    CHECK(push(fits, 3) == 200 && push(too_big, 3) == NOTHING);
    struct argument plain[] = {TEXT("t"), TEXT("I"), TEXT("1")};
    CHECK(push(plain, 3) == 200 && last_has(receiver, "\r\nTCSQL-Lost: 1\r\n")); /* the one that was too big */
    CHECK(push(plain, 3) == 200 && strstr(receiver->last, "TCSQL-Lost") == NULL);
    free(big);
    return NULL;
}

static void *try_compatible(void *pointer) {
    struct receiver *receiver = pointer;
    const char *port = strchr(receiver->address.name, ':') + 1;
    struct argument port_argument = {UDF_STRING, port, strlen(port), NULL};
    struct argument insert[] = {TEXT("127.0.0.1"), port_argument, TEXT("command=insert\r\nX: y"), TEXT("%7B%7D")};
    CHECK(post(insert, 4) == 200 && post(insert, 3) == 200);
    CHECK(last_has(receiver, "POST /?command=insert%0D%0AX:%20y HTTP/1.1\r\n") && last_has(receiver, "Content-Length: 0\r\n"));
    CHECK(strstr(receiver->last, "Bearer") == NULL && last_has(receiver, "Content-Type: application/x-www-form-urlencoded\r\n"));
    static const struct argument hosts[] = {TEXT("127.0.0.2"), TEXT("localhost"), TEXT(" 127.0.0.1"), TEXT(""), TEXT("::1"), NULL_ARGUMENT};
    int before = receiver_requests(receiver);
    for (size_t at = 0; at < sizeof hosts / sizeof hosts[0]; at++) {
        insert[0] = hosts[at];
        CHECK(post(insert, 4) == NOTHING);
    }
    CHECK(receiver_requests(receiver) == before);
    struct argument six[] = {TEXT("::1"), TEXT("9"), TEXT("a")}; /* allowed, and tried: nobody is there */
    CHECK(post(six, 3) == NOTHING && sender_counts(2).failed == 1);
    return NULL;
}

static void in_a_thread(void *function(void *), struct receiver *receiver) {
    pthread_t thread; /* its end closes its connection: the receiver serves one at a time */
    CHECK(pthread_create(&thread, NULL, function, receiver) == 0 && pthread_join(thread, NULL) == 0);
}

static void the_circuit_opens_and_closes(void) {
    struct argument plain[] = {TEXT("t"), TEXT("I"), TEXT("1")};
    unsigned long long failed = sender_counts(TARGET).failed;
    for (int at = 0; at < 10; at++)
        CHECK(push(plain, 3) == NOTHING);
    CHECK(sender_counts(TARGET).open && sender_counts(TARGET).failed == failed + 3); /* seven did not even try */
    usleep(60000);
    CHECK(push(plain, 3) == NOTHING && push(plain, 3) == NOTHING);
    CHECK(sender_counts(TARGET).failed == failed + 4); /* one probe */
}

static void rings(void) {
    struct sockaddr_un local = {.sun_family = AF_UNIX, .sun_path = "bell.sock"};
    CHECK(integer(tcsql_doorbell_init, tcsql_doorbell, NULL, 0) == 0);
    int bell = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    CHECK(bind(bell, (struct sockaddr *)&local, sizeof local) == 0);
    for (int at = 0; at < 1000; at++) /* far more than the queue takes: it never waits */
        CHECK(integer(tcsql_doorbell_init, tcsql_doorbell, NULL, 0) == 1);
    char bytes[8];
    CHECK(recv(bell, bytes, sizeof bytes, 0) == 1);
    close(bell);
    CHECK(integer(tcsql_doorbell_init, tcsql_doorbell, NULL, 0) == 0 && unlink("bell.sock") == 0);
}

/* One breaker, time made up. */
static void breaks(void) {
    struct breaker breaker = {0};
    CHECK(breaker_admits(&breaker, 2, 0, 10) && !breaker_failed(&breaker, 2, 0, 10));
    CHECK(breaker_admits(&breaker, 2, 1, 10) && breaker_failed(&breaker, 2, 1, 10));
    CHECK(!breaker_admits(&breaker, 2, 2, 10) && !breaker_admits(&breaker, 2, 10, 10));
    CHECK(breaker_admits(&breaker, 2, 11, 10) && !breaker_admits(&breaker, 2, 11, 10)); /* one probe */
    CHECK(!breaker_failed(&breaker, 2, 12, 10) && !breaker_admits(&breaker, 2, 21, 10));
    CHECK(breaker_admits(&breaker, 2, 22, 10) && breaker_worked(&breaker, 2));
    CHECK(breaker_admits(&breaker, 2, 23, 10) && !breaker_worked(&breaker, 2));
}

void test_functions(void) {
    struct receiver receiver = {.answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", .answers = 1000000};
    receiver_start(&receiver, NULL);
    FILE *file = fopen("test.conf", "w");
    CHECK(file != NULL);
    fprintf(file, "target=%s\nsource=shop\ntoken=secret\nallow=%s\nallow=[::1]:9\ndoorbell=/proc/self/cwd/bell.sock\nfailures=3\ncooldown_ms=50\n",
            receiver.address.name, receiver.address.name);
    CHECK(fclose(file) == 0 && chmod("test.conf", 0600) == 0);
    CHECK(sender_config_problem()[0] == '\0');
    breaks();
    encodes();
    refuses_wrong_numbers_of_arguments();
    in_a_thread(try_out, &receiver);
    in_a_thread(try_compatible, &receiver);
    threads(&receiver);
    rings();
    receiver_stop(&receiver);
    the_circuit_opens_and_closes();
    char *info = string(tcsql_udf_info_init, tcsql_udf_info, tcsql_udf_info_deinit, NULL, 0);
    CHECK(strstr(info, "\"configuration\":\"ok\"") != NULL && strstr(info, "\"circuit\":\"open\"") != NULL);
    CHECK(strstr(info, "secret") == NULL);
    free(info);
    CHECK(unlink("test.conf") == 0);
}
