/* A small HTTP/1.1 client: one request, one status, one absolute deadline. No names, no redirects, no proxies.
 *
 * A request is never sent twice. The one repetition there is: a kept connection that turns out closed before a single
 * byte of the request went into it is opened anew. */
#ifndef TCSQL_HTTP_H
#define TCSQL_HTTP_H

#include "config.h"

#include <stdint.h>
#include <sys/uio.h>

#define MOST_PARTS 20

/* A connection that one thread keeps to one address. */
struct link {
    int socket;       /* -1: none */
    int64_t used_at;  /* monotonic nanoseconds */
};

int64_t monotonic_ns(void);
void link_close(struct link *link);

/* Send the parts (head first) and read the reply. The status, or 0 and the reason in `problem`; takes at most
 * `timeout_ms` (plus what the kernel needs to schedule us). `parts` are used up. */
int http_exchange(
    struct link *link,
    const struct address *address,
    const struct config *limits,
    struct iovec *parts,
    size_t count,
    const char **problem);

#endif
