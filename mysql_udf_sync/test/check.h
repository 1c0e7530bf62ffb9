/* The tests' one assertion, their dice, and a receiver that does what it is told. */
#ifndef TCSQL_CHECK_H
#define TCSQL_CHECK_H

#include "config.h"

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
            exit(1); \
        } \
    } while (0)

/* A number below `below`, the same sequence in every run. */
uint32_t dice(uint32_t below);

/* What the receiver does with a connection: `answers` times it reads a request and sends `answer`, then `then`;
 * cut: it closes when it has read some bytes of a request. */
enum then { THEN_CLOSE, THEN_RESET, THEN_HANG, THEN_CUT };

struct receiver {
    struct address address;
    const char *answer;
    int answers;
    enum then then;
    int listener;
    pthread_t thread;
    pthread_mutex_t mutex;
    int connections, requests;
    char last[80000];
    size_t last_length;
};

void receiver_start(struct receiver *receiver, const char *unix_path);
void receiver_stop(struct receiver *receiver);
int receiver_requests(struct receiver *receiver);
int receiver_connections(struct receiver *receiver);

void test_text(void);
void test_config(void);
void test_reply(void);
void test_http(void);
void test_functions(void);

#endif
