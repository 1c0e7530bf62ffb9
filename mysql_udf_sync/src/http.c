#include "http.h"
#include "reply.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_MS 1000000

int64_t monotonic_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

void link_close(struct link *link) {
    if (link->socket >= 0)
        close(link->socket); /* after an error, too, Linux has closed it */
    link->socket = -1;
}

/* Wait until the socket is ready, or broken: the next call on it will say. False: the deadline has passed. */
static bool wait_for(int socket, short events, int64_t deadline) {
    for (;;) {
        int64_t left = deadline - monotonic_ns();
        if (left <= 0)
            return false;
        struct timespec time = {.tv_sec = left / 1000000000, .tv_nsec = left % 1000000000};
        struct pollfd one = {.fd = socket, .events = events};
        int ready = ppoll(&one, socket < 0 ? 0 : 1, &time, NULL);
        if (ready > 0 || (ready < 0 && errno != EINTR))
            return true;
    }
}

static const char *connect_by(int handle, const struct address *address, int64_t deadline) {
    for (;;) {
        if (connect(handle, (const struct sockaddr *)&address->bytes, address->length) == 0 || errno == EISCONN)
            return NULL;
        if (errno == EACCES || errno == EPERM)
            return "the server's account may not connect there";
        if (errno == EINPROGRESS || errno == EALREADY || errno == EINTR) {
            if (!wait_for(handle, POLLOUT, deadline))
                return "no connection in time";
            int error = 0;
            socklen_t size = sizeof error;
            if (getsockopt(handle, SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0)
                return "connection refused";
        } else if (errno == EAGAIN) {
            /* the queue of a unix socket is full, and there is nothing to poll for */
            int64_t soon = monotonic_ns() + NS_PER_MS;
            if (soon > deadline)
                return "no connection in time";
            wait_for(-1, 0, soon);
        } else {
            return "connection refused";
        }
    }
}

static const char *link_open(struct link *link, const struct address *address, int64_t deadline) {
    link->socket = socket(address->bytes.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (link->socket < 0)
        return "no socket left";
    int on = 1;
    if (address->bytes.ss_family != AF_UNIX)
        setsockopt(link->socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    const char *problem = connect_by(link->socket, address, deadline);
    if (problem != NULL)
        link_close(link);
    return problem;
}

/* Whether a kept connection can be used: the other side has neither closed it nor said anything meanwhile, and it has
 * not rested so long that the other side may be about to close it. */
static bool link_is_fresh(const struct link *link, int64_t idle_ns) {
    char byte;
    if (link->socket < 0 || monotonic_ns() - link->used_at > idle_ns)
        return false;
    return recv(link->socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && (errno == EAGAIN);
}

static void advance(struct iovec **parts, size_t *count, size_t sent) {
    while (*count > 0 && sent >= (*parts)->iov_len) {
        sent -= (*parts)->iov_len;
        ++*parts;
        --*count;
    }
    if (*count > 0) {
        (*parts)->iov_base = (char *)(*parts)->iov_base + sent;
        (*parts)->iov_len -= sent;
    }
}

/* Send all parts. `untouched`: whether it failed before the first byte went out. */
static const char *send_by(int handle, struct iovec *parts, size_t count, int64_t deadline, bool *untouched) {
    *untouched = true;
    while (count > 0) {
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = count};
        ssize_t sent = sendmsg(handle, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent >= 0) {
            *untouched = *untouched && sent == 0;
            advance(&parts, &count, (size_t)sent);
        } else if (errno == EAGAIN) {
            if (!wait_for(handle, POLLOUT, deadline))
                return "no answer in time";
        } else if (errno != EINTR) {
            return "connection lost";
        }
    }
    return NULL;
}

static const char *receive_by(int handle, struct reply *reply, int64_t deadline) {
    char bytes[2048];
    while (reply->state != REPLY_DONE && reply->state != REPLY_BROKEN) {
        ssize_t count = recv(handle, bytes, sizeof bytes, MSG_DONTWAIT);
        if (count > 0) {
            reply_feed(reply, bytes, (size_t)count);
        } else if (count == 0) {
            return "connection closed without an answer";
        } else if (errno == EAGAIN) {
            if (!wait_for(handle, POLLIN, deadline))
                return "no answer in time";
        } else if (errno != EINTR) {
            return "connection lost";
        }
    }
    return reply->state == REPLY_BROKEN ? "the answer is not HTTP" : NULL;
}

static const char *exchange(
    struct link *link, const struct address *address, const struct config *limits, struct iovec *parts, size_t count,
    struct reply *reply) {
    int64_t start = monotonic_ns(), deadline = start + limits->timeout_ms * NS_PER_MS;
    int64_t connect_deadline = start + limits->connect_ms * NS_PER_MS;
    if (connect_deadline > deadline)
        connect_deadline = deadline;
    bool kept = link_is_fresh(link, limits->idle_ms * NS_PER_MS), untouched;
    const char *problem;
    if (!kept) {
        link_close(link);
        if ((problem = link_open(link, address, connect_deadline)) != NULL)
            return problem;
    }
    problem = send_by(link->socket, parts, count, deadline, &untouched);
    if (problem != NULL && kept && untouched) { /* it was closed between the look and the first byte */
        link_close(link);
        if ((problem = link_open(link, address, connect_deadline)) == NULL)
            problem = send_by(link->socket, parts, count, deadline, &untouched);
    }
    return problem != NULL ? problem : receive_by(link->socket, reply, deadline);
}

int http_exchange(
    struct link *link, const struct address *address, const struct config *limits, struct iovec *parts, size_t count,
    const char **problem) {
    struct reply reply;
    reply_begin(&reply);
    *problem = exchange(link, address, limits, parts, count, &reply);
    if (*problem != NULL || !reply.keeps)
        link_close(link);
    link->used_at = monotonic_ns();
    if (reply.state != REPLY_BODY && reply.state != REPLY_DONE)
        return 0;
    *problem = NULL; /* a body that was cut off takes nothing from the status */
    return reply.status;
}
