#include "sender.h"
#include "breaker.h"
#include "http.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef TCSQL_CONF
#define TCSQL_CONF "/etc/tcsql/push.conf"
#endif

#define MOST_PEERS (1 + MOST_ALLOWED)
#define NS_PER_MS 1000000

struct peer {
    struct breaker breaker;
    atomic_ullong delivered, failed, lost;
    atomic_ullong reported; /* of `lost`, how many the receiver has been told of */
    _Atomic(const char *) problem;
};

/* What one thread holds. Its connections outlive the statement, the trigger and even DROP FUNCTION: therefore the
 * library is linked so that it is never unloaded. */
struct thread {
    struct text head;
    struct link links[MOST_PEERS];
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct config config;
static char config_problem[PROBLEM_SIZE];
static struct peer peers[MOST_PEERS];
static pthread_key_t key;
static bool has_key;

static void thread_ends(void *pointer) {
    struct thread *own = pointer;
    for (size_t at = 0; at < MOST_PEERS; at++)
        link_close(&own->links[at]);
    text_free(&own->head);
    free(own);
}

static void start(void) {
    has_key = pthread_key_create(&key, thread_ends) == 0;
    if (!config_read(TCSQL_CONF, geteuid(), &config, config_problem))
        fprintf(stderr, "tcsql_udf: nothing will be sent: %s\n", config_problem);
}

const struct config *sender_config(void) {
    pthread_once(&once, start);
    return &config;
}

const char *sender_config_problem(void) {
    sender_config();
    return config_problem;
}

static struct thread *this_thread(void) {
    struct thread *own = has_key ? pthread_getspecific(key) : NULL;
    if (own == NULL && has_key) {
        own = calloc(1, sizeof *own);
        if (own == NULL)
            return NULL;
        for (size_t at = 0; at < MOST_PEERS; at++)
            own->links[at].socket = -1;
        if (pthread_setspecific(key, own) != 0) {
            free(own);
            return NULL;
        }
    }
    return own;
}

static const struct address *address_of(size_t peer) {
    return peer == TARGET ? &config.target : &config.allow[peer - 1];
}

void sender_lose(size_t peer) {
    atomic_fetch_add(&peers[peer].lost, 1);
}

struct text *sender_begin(size_t peer) {
    sender_config();
    if (peer > config.allowed || address_of(peer)->length == 0)
        return NULL;
    struct thread *own = this_thread();
    int64_t cooldown = config.cooldown_ms * NS_PER_MS;
    if (own == NULL || !breaker_admits(&peers[peer].breaker, (unsigned)config.failures, monotonic_ns(), cooldown)) {
        sender_lose(peer);
        return NULL;
    }
    text_clear(&own->head);
    text_add_string(&own->head, "POST /?");
    return &own->head;
}

/* The rest of the head. The target alone gets the token, and the number of messages lost since it last heard. */
static void finish_head(struct text *head, size_t peer, const char *type, size_t length, unsigned long long unreported) {
    text_add_string(head, " HTTP/1.1\r\nHost: ");
    text_add_string(head, address_of(peer)->name);
    text_add_string(head, "\r\nUser-Agent: tcsql-udf/" TCSQL_UDF_VERSION "\r\nContent-Type: ");
    text_add_string(head, type);
    text_add_string(head, "\r\nContent-Length: ");
    text_add_number(head, (long long)length);
    if (peer == TARGET && config.token[0] != '\0') {
        text_add_string(head, "\r\nAuthorization: Bearer ");
        text_add_string(head, config.token);
    }
    if (peer == TARGET && unreported > 0) {
        text_add_string(head, "\r\nTCSQL-Lost: ");
        text_add_number(head, (long long)unreported);
    }
    text_add_string(head, "\r\n\r\n");
}

static void note_delivered(struct peer *peer, unsigned long long lost) {
    atomic_fetch_add(&peer->delivered, 1);
    unsigned long long reported = atomic_load(&peer->reported);
    while (reported < lost && !atomic_compare_exchange_weak(&peer->reported, &reported, lost))
        ;
}

/* A receiver that answers "no" (400 to 499) is alive: only no answer and 500 and up count for the circuit. */
static void note(size_t at, int status, const char *problem, unsigned long long lost) {
    struct peer *peer = &peers[at];
    const char *name = address_of(at)->name;
    unsigned limit = (unsigned)config.failures;
    if (status >= 200 && status < 300) {
        note_delivered(peer, lost);
    } else {
        atomic_fetch_add(&peer->failed, 1);
        sender_lose(at);
        atomic_store(&peer->problem, status >= 500 ? "an answer of 500 or above" : status ? "a refusal" : problem);
    }
    if (status != 0 && status < 500) {
        if (breaker_worked(&peer->breaker, limit))
            fprintf(stderr, "tcsql_udf: %s answers again\n", name);
    } else if (breaker_failed(&peer->breaker, limit, monotonic_ns(), config.cooldown_ms * NS_PER_MS)) {
        fprintf(stderr, "tcsql_udf: %s: %s; from now on one try in %ld ms\n", name, atomic_load(&peer->problem),
                config.cooldown_ms);
    }
}

int sender_finish(size_t peer, const char *type, const struct iovec *body, size_t count) {
    struct thread *own = this_thread(); /* not NULL: the request was begun */
    struct iovec parts[1 + MOST_BODY_PARTS];
    size_t length = 0;
    for (size_t at = 0; at < count; at++) {
        parts[1 + at] = body[at];
        length += body[at].iov_len;
    }
    unsigned long long lost = atomic_load(&peers[peer].lost), reported = atomic_load(&peers[peer].reported);
    finish_head(&own->head, peer, type, length, lost > reported ? lost - reported : 0);
    const char *problem = "no memory";
    int status = 0;
    if (!own->head.failed) {
        parts[0] = (struct iovec){.iov_base = own->head.bytes, .iov_len = own->head.used};
        status = http_exchange(&own->links[peer], address_of(peer), &config, parts, 1 + count, &problem);
    }
    note(peer, status, problem, lost);
    return status;
}

struct sender_counts sender_counts(size_t at) {
    struct peer *peer = &peers[at];
    const char *problem = atomic_load(&peer->problem);
    return (struct sender_counts){
        .delivered = atomic_load(&peer->delivered),
        .failed = atomic_load(&peer->failed),
        .lost = atomic_load(&peer->lost),
        .open = breaker_is_open(&peer->breaker, (unsigned)sender_config()->failures),
        .problem = problem == NULL ? "" : problem,
    };
}
