#include "check.h"
#include "reply.h"

#include <string.h>

/* The same reply cut at every place, and byte by byte, gives the same. */
static void gives(const char *bytes, enum reply_state state, int status, bool keeps) {
    size_t length = strlen(bytes);
    for (size_t cut = 0; cut <= length; cut++) {
        struct reply reply;
        reply_begin(&reply);
        reply_feed(&reply, bytes, cut);
        reply_feed(&reply, bytes + cut, length - cut);
        CHECK(reply.state == state);
        CHECK(state == REPLY_BROKEN || (reply.status == status && reply.keeps == keeps));
    }
    struct reply reply;
    reply_begin(&reply);
    for (size_t at = 0; at < length; at++)
        reply_feed(&reply, bytes + at, 1);
    CHECK(reply.state == state);
}

static void replies(void) {
    gives("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", REPLY_DONE, 200, true);
    gives("HTTP/1.1 200 OK\r\ncontent-length:2 \r\n\r\no", REPLY_BODY, 200, true);
    gives("HTTP/1.1 200\nContent-Length: 0\n\n", REPLY_DONE, 200, true);
    gives("HTTP/1.1 204 No Content\r\n\r\n", REPLY_DONE, 204, true);
    gives("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", REPLY_DONE, 200, false);
    gives("HTTP/1.1 500 No\r\nConnection: Close\r\nContent-Length: 0\r\n\r\n", REPLY_DONE, 500, false);
    gives("HTTP/1.1 200 OK\r\n\r\nuntil the end", REPLY_DONE, 200, false);
    gives("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", REPLY_DONE, 200, false);
    gives("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok, and more", REPLY_DONE, 200, false);
    gives("HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n", REPLY_DONE, 200, false);
    gives("HTTP/1.1 100 Continue\r\nX: y\r\n\r\nHTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n", REPLY_DONE, 202, true);
    gives("HTTP/1.1 101 Switching\r\n\r\n", REPLY_DONE, 101, false);
    gives("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", REPLY_BROKEN, 0, false);
    gives("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", REPLY_BROKEN, 0, false);
    gives("HTTP/1.1 200 OK\r\nContent-Length: 1x\r\n\r\n", REPLY_BROKEN, 0, false);
    gives("SSH-2.0-OpenSSH\r\n", REPLY_BROKEN, 0, false);
    gives("HTTP/1.1 2000 OK\r\n", REPLY_BROKEN, 0, false);
    gives("HTTP/1.1 099 OK\r\n", REPLY_BROKEN, 0, false);
    gives("HTTP/2.0 200 OK\r\n", REPLY_BROKEN, 0, false);
    gives("\r\n", REPLY_BROKEN, 0, false);
    gives("HTTP/1.1 20", REPLY_STATUS, 0, true);
}

static void a_head_without_end_is_refused(void) {
    struct reply reply;
    reply_begin(&reply);
    reply_feed(&reply, "HTTP/1.1 200 OK\r\n", 17);
    for (int at = 0; at < 20000 && reply.state == REPLY_HEADERS; at++)
        reply_feed(&reply, "a", 1);
    CHECK(reply.state == REPLY_BROKEN);
}

static void random_bytes(void) {
    static const char *const pieces[] = {"HTTP/1.1 ", "200", " ", "\r\n", "\n", "Content-Length:", "5", "Connection: close", "x", "100", "\r"};
    for (int round = 0; round < 50000; round++) {
        struct reply reply;
        reply_begin(&reply);
        for (uint32_t count = dice(16); count > 0; count--) {
            const char *piece = pieces[dice(sizeof pieces / sizeof pieces[0])];
            reply_feed(&reply, piece, strlen(piece));
            CHECK(reply.used < sizeof reply.line && reply.left >= -1);
        }
    }
}

void test_reply(void) {
    replies();
    a_head_without_end_is_refused();
    random_bytes();
}
