/* Sending from a database server: the process's configuration, each thread's connections, circuits and counters.
 *
 * A peer is the number of a receiver: 0 the target of the file, 1 and up its `allow` lines. Each thread keeps at most
 * one connection to each; they are closed when the thread ends. Nothing is locked.
 *
 *     struct text *head = sender_begin(peer);
 *     if (head != NULL) {
 *         text_add_query(head, ...);                        what stands behind "POST /?"
 *         status = sender_finish(peer, type, body, 1);      0: no answer
 *     }
 */
#ifndef TCSQL_SENDER_H
#define TCSQL_SENDER_H

#include "config.h"
#include "text.h"

#include <sys/uio.h>

#define TARGET 0
#define MOST_BODY_PARTS 16

/* The configuration, read at the first call in the process. */
const struct config *sender_config(void);

/* What is wrong with the configuration; "" if nothing. */
const char *sender_config_problem(void);

/* Begin a request; every begun request must be finished. NULL: not to be sent now (no such receiver, its circuit is
 * open, no memory), which counts as lost. */
struct text *sender_begin(size_t peer);

/* Send what was begun with this body. The status of the reply, or 0. */
int sender_finish(size_t peer, const char *type, const struct iovec *body, size_t count);

/* Note a message that was given up before it was begun. */
void sender_lose(size_t peer);

struct sender_counts {
    unsigned long long delivered, failed, lost; /* lost: not delivered, for whatever reason (failed ones too) */
    bool open;
    const char *problem; /* of the last failure; "" before the first */
};
struct sender_counts sender_counts(size_t peer);

#endif
