/* The reply of an HTTP/1.1 server, read as it comes, however it is cut. Pure. Of a reply we want the status, and to
 * know whether the connection can be used again: its length is counted, its body is not kept. */
#ifndef TCSQL_REPLY_H
#define TCSQL_REPLY_H

#include <stdbool.h>
#include <stddef.h>

enum reply_state { REPLY_STATUS, REPLY_HEADERS, REPLY_BODY, REPLY_DONE, REPLY_BROKEN };

struct reply {
    enum reply_state state;
    int status;     /* of the final reply; 0: not known yet */
    bool keeps;     /* the connection stays open and clean behind this reply */
    bool chunked;
    long long left; /* bytes of the body still to come; -1: no length was given */
    size_t head;    /* bytes of heads so far */
    size_t used;
    char line[128]; /* longer lines are cut: none that matters is */
};

void reply_begin(struct reply *reply);
void reply_feed(struct reply *reply, const char *bytes, size_t length);

#endif
