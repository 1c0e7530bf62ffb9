#include "check.h"
#include "http.h"

#include <string.h>
#include <unistd.h>

#define OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

static struct config limits = {.connect_ms = 100, .timeout_ms = 100, .idle_ms = 5000};
static struct link one = {.socket = -1};
static const char *problem;
static int64_t took_ms;

static int post(const struct address *address, const char *body, size_t length) {
    char head[256];
    int size = snprintf(head, sizeof head, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n", length);
    struct iovec parts[] = {{head, (size_t)size}, {(char *)"", 0}, {(char *)body, length}};
    int64_t start = monotonic_ns();
    int status = http_exchange(&one, address, &limits, parts, 3, &problem);
    took_ms = (monotonic_ns() - start) / 1000000;
    CHECK((status == 0) == (problem != NULL) && took_ms < 1000);
    return status;
}

/* Ten requests with a receiver that closes, hangs or resets behind `answers` answers on each connection. */
static void kept_connections(int answers, enum then then, const char *path, int connections, int delivered) {
    struct receiver receiver = {.answer = OK, .answers = answers, .then = then};
    receiver_start(&receiver, path);
    int fine = 0;
    for (int at = 0; at < 10; at++) {
        fine += post(&receiver.address, "body", 4) == 200;
        usleep(then == THEN_CLOSE ? 2000 : 0); /* so that its end is there when it is looked for */
    }
    link_close(&one);
    CHECK(fine == delivered);
    CHECK(receiver_connections(&receiver) == connections);
    /* never sent twice: what was not answered was received once at the most */
    CHECK(receiver_requests(&receiver) >= fine && receiver_requests(&receiver) <= 10);
    receiver_stop(&receiver);
}

static void bodies(void) {
    static char body[65536], big[65536];
    struct receiver receiver = {.answer = OK, .answers = 100};
    memset(big, 'x', sizeof big);
    for (size_t at = 0; at < sizeof body; at++)
        body[at] = (char)at;
    receiver_start(&receiver, NULL);
    CHECK(post(&receiver.address, body, sizeof body) == 200);
    CHECK(memcmp(receiver.last + receiver.last_length - sizeof body, body, sizeof body) == 0);
    CHECK(post(&receiver.address, "", 0) == 200 && post(&receiver.address, "a\0b", 3) == 200);
    CHECK(memcmp(receiver.last + receiver.last_length - 3, "a\0b", 3) == 0);
    limits.idle_ms = 1;
    usleep(3000);
    CHECK(post(&receiver.address, "", 0) == 200);
    link_close(&one);
    limits.idle_ms = 5000;
    CHECK(receiver_connections(&receiver) == 2);
    receiver_stop(&receiver);
}

/* A kept connection that breaks in the middle of a request: some of it went out, so it is not sent again. */
static void a_request_cut_in_the_middle(void) {
    static char body[65536];
    struct receiver receiver = {.answer = OK, .answers = 1, .then = THEN_CUT};
    int small = 4608;
    receiver_start(&receiver, "cut.sock");
    CHECK(post(&receiver.address, "", 0) == 200);
    CHECK(setsockopt(one.socket, SOL_SOCKET, SO_SNDBUF, &small, sizeof small) == 0);
    CHECK(post(&receiver.address, body, sizeof body) == 0 && strcmp(problem, "connection lost") == 0);
    CHECK(one.socket == -1 && receiver_connections(&receiver) == 1);
    receiver_stop(&receiver);
    unlink("cut.sock");
}

static void answers_that_are_none(void) {
    static const struct {
        const char *answer, *problem;
        int status;
    } cases[] = {
        {"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", NULL, 500},
        {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ncut", NULL, 200},
        {"HTTP/1.1 200 OK\r\nContent-Le", "closed", 0},
        {"220 mail.example.com ESMTP\r\n", "not HTTP", 0},
        {"", "closed", 0},
    };
    for (size_t at = 0; at < sizeof cases / sizeof cases[0]; at++) {
        struct receiver receiver = {.answer = cases[at].answer, .answers = 1};
        receiver_start(&receiver, NULL);
        CHECK(post(&receiver.address, "x", 1) == cases[at].status);
        CHECK(cases[at].problem == NULL || strstr(problem, cases[at].problem) != NULL);
        link_close(&one);
        receiver_stop(&receiver);
    }
}

static void the_deadline_is_kept(void) {
    struct receiver receiver = {.answers = 0, .then = THEN_HANG};
    receiver_start(&receiver, NULL);
    CHECK(post(&receiver.address, "x", 1) == 0 && strstr(problem, "in time") != NULL && took_ms >= 99);
    CHECK(one.socket == -1 && receiver_requests(&receiver) == 1);
    receiver_stop(&receiver);
    CHECK(post(&receiver.address, "x", 1) == 0 && strstr(problem, "refused") != NULL && took_ms < 50);
}

/* Nobody accepts: the queue fills up, and then connecting waits, and no longer than it may. */
static void a_full_queue(const char *path) {
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    struct address address = {.length = sizeof local};
    strcpy(local.sun_path, path);
    unlink(path);
    memcpy(&address.bytes, &local, sizeof local);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0), waiting[2];
    CHECK(bind(listener, (struct sockaddr *)&local, sizeof local) == 0 && listen(listener, 0) == 0);
    for (int at = 0; at < 1; at++) {
        waiting[at] = socket(AF_UNIX, SOCK_STREAM, 0);
        CHECK(connect(waiting[at], (struct sockaddr *)&local, sizeof local) == 0);
    }
    CHECK(post(&address, "x", 1) == 0 && strstr(problem, "no connection in time") != NULL && took_ms >= 90);
    close(waiting[0]);
    close(listener);
    CHECK(post(&address, "x", 1) == 0 && strstr(problem, "refused") != NULL);
    unlink(path);
    CHECK(post(&address, "x", 1) == 0 && strstr(problem, "refused") != NULL);
}

void test_http(void) {
    kept_connections(100, THEN_CLOSE, NULL, 1, 10);
    kept_connections(100, THEN_CLOSE, "http.sock", 1, 10);
    kept_connections(1, THEN_CLOSE, NULL, 10, 10); /* found closed before the first byte: opened anew, nothing lost */
    kept_connections(1, THEN_RESET, NULL, 5, 5);   /* reset behind the request: lost, and not repeated */
    bodies();
    a_request_cut_in_the_middle();
    answers_that_are_none();
    the_deadline_is_kept();
    a_full_queue("full.sock");
    unlink("http.sock");
}
