#include "reply.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MOST_HEAD 16384 /* bytes of heads, interim replies included */
#define MOST_BODY 65536 /* a longer body is not read: the connection is given up instead */

void reply_begin(struct reply *reply) {
    *reply = (struct reply){.state = REPLY_STATUS, .keeps = true, .left = -1};
}

static int digit(char byte) {
    return byte >= '0' && byte <= '9' ? byte - '0' : -1000;
}

static void status_line(struct reply *reply) {
    const char *line = reply->line;
    size_t version = strlen("HTTP/1.x");
    bool fits = reply->used >= version + 4 && memcmp(line, "HTTP/1.", version - 1) == 0 && line[version] == ' ';
    int status = fits ? digit(line[9]) * 100 + digit(line[10]) * 10 + digit(line[11]) : 0;
    if (status < 100 || (reply->used > 12 && line[12] != ' ')) {
        reply->state = REPLY_BROKEN;
        return;
    }
    reply->state = REPLY_HEADERS;
    reply->status = status;
    reply->keeps = line[7] != '0';
}

/* The value of the header in the line if it is called `name`, else NULL. The line ends with a NUL. */
static const char *value_of(const struct reply *reply, const char *name) {
    size_t length = strlen(name);
    if (strncasecmp(reply->line, name, length) != 0 || reply->line[length] != ':')
        return NULL;
    const char *value = reply->line + length + 1;
    return value + strspn(value, " \t");
}

static void content_length(struct reply *reply, const char *value) {
    size_t count = strspn(value, "0123456789");
    long long length = count > 0 && count < 18 ? strtoll(value, NULL, 10) : -1;
    if (length < 0 || value[count + strspn(value + count, " \t")] != '\0' || (reply->left >= 0 && reply->left != length))
        reply->state = REPLY_BROKEN;
    reply->left = length;
}

static void header(struct reply *reply) {
    const char *value;
    if ((value = value_of(reply, "content-length")) != NULL)
        content_length(reply, value);
    else if ((value = value_of(reply, "connection")) != NULL)
        reply->keeps = reply->keeps && strcasestr(value, "close") == NULL;
    else if (value_of(reply, "transfer-encoding") != NULL)
        reply->chunked = true;
}

static void head_ended(struct reply *reply) {
    if (reply->status < 200 && reply->status != 101) { /* an interim reply: the real one follows */
        size_t head = reply->head;
        reply_begin(reply);
        reply->head = head;
        return;
    }
    if (reply->status == 204 || reply->status == 304) {
        reply->left = 0;
    } else if (reply->chunked || reply->left < 0 || reply->left > MOST_BODY) {
        reply->keeps = false;
        reply->left = 0;
    }
    reply->state = reply->left > 0 ? REPLY_BODY : REPLY_DONE;
}

static void line_ended(struct reply *reply) {
    if (reply->used > 0 && reply->line[reply->used - 1] == '\r')
        reply->used--;
    reply->line[reply->used] = '\0';
    if (reply->state == REPLY_STATUS)
        status_line(reply);
    else if (reply->used == 0)
        head_ended(reply);
    else
        header(reply);
    reply->used = 0;
}

static size_t feed_head(struct reply *reply, const char *bytes, size_t length) {
    size_t at = 0;
    while (at < length && (reply->state == REPLY_STATUS || reply->state == REPLY_HEADERS)) {
        char byte = bytes[at++];
        if (++reply->head > MOST_HEAD)
            reply->state = REPLY_BROKEN;
        else if (byte == '\n')
            line_ended(reply);
        else if (reply->used + 1 < sizeof reply->line)
            reply->line[reply->used++] = byte;
    }
    return at;
}

void reply_feed(struct reply *reply, const char *bytes, size_t length) {
    size_t at = feed_head(reply, bytes, length);
    size_t rest = length - at;
    if (rest == 0 || reply->state == REPLY_BROKEN)
        return;
    if (reply->state == REPLY_DONE || rest > (size_t)reply->left) {
        reply->keeps = false; /* bytes that nobody asked for */
        reply->state = REPLY_DONE;
        return;
    }
    reply->left -= (long long)rest;
    if (reply->left == 0)
        reply->state = REPLY_DONE;
}
