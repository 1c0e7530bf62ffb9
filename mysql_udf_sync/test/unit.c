/* The tests of the library's parts. Run by `make test` with sanitizers; talks to itself over loopback only. */
#include "check.h"
#include "http.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

uint32_t dice(uint32_t below) {
    static uint64_t state = 88172645463325252u;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)((state >> 16) % below);
}

/* Read one request with a Content-Length. False: the other side has closed. */
static bool read_request(struct receiver *receiver, int connection) {
    char *bytes = malloc(sizeof receiver->last);
    size_t used = 0, needed = SIZE_MAX;
    while (used < needed) {
        ssize_t count = recv(connection, bytes + used, sizeof receiver->last - 1 - used, 0);
        if (count <= 0)
            break;
        used += (size_t)count;
        bytes[used] = '\0';
        char *end = strstr(bytes, "\r\n\r\n"), *length = strstr(bytes, "Content-Length: ");
        if (end != NULL && needed == SIZE_MAX)
            needed = (size_t)(end + 4 - bytes) + strtoul(length + 16, NULL, 10);
    }
    pthread_mutex_lock(&receiver->mutex);
    if (used >= needed) {
        receiver->requests++;
        memcpy(receiver->last, bytes, used);
        receiver->last_length = used;
    }
    pthread_mutex_unlock(&receiver->mutex);
    free(bytes);
    return used >= needed;
}

static void serve(struct receiver *receiver, int connection) {
    for (int at = 0; at < receiver->answers; at++) {
        if (!read_request(receiver, connection))
            return;
        send(connection, receiver->answer, strlen(receiver->answer), MSG_NOSIGNAL);
    }
    char some[100];
    if (receiver->then == THEN_CUT) {
        recv(connection, some, sizeof some, 0);
    } else if (receiver->then == THEN_HANG) {
        while (read_request(receiver, connection)) /* reads, never answers */
            ;
    } else if (receiver->then == THEN_RESET) {
        struct linger at_once = {.l_onoff = 1};
        read_request(receiver, connection);
        setsockopt(connection, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    }
}

static void *accept_all(void *pointer) {
    struct receiver *receiver = pointer;
    int connection;
    while ((connection = accept(receiver->listener, NULL, NULL)) >= 0) {
        pthread_mutex_lock(&receiver->mutex);
        receiver->connections++;
        pthread_mutex_unlock(&receiver->mutex);
        serve(receiver, connection);
        close(connection);
    }
    return NULL;
}

void receiver_start(struct receiver *receiver, const char *unix_path) {
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    struct address *address = &receiver->address;
    pthread_mutex_init(&receiver->mutex, NULL);
    receiver->listener = socket(unix_path != NULL ? AF_UNIX : AF_INET, SOCK_STREAM, 0);
    if (unix_path != NULL) {
        strcpy(local.sun_path, unix_path);
        unlink(unix_path);
        CHECK(bind(receiver->listener, (struct sockaddr *)&local, sizeof local) == 0);
    } else {
        CHECK(bind(receiver->listener, (struct sockaddr *)&any, sizeof any) == 0);
    }
    address->length = sizeof address->bytes;
    CHECK(getsockname(receiver->listener, (struct sockaddr *)&address->bytes, &address->length) == 0);
    if (unix_path == NULL)
        snprintf(address->name, sizeof address->name, "127.0.0.1:%d",
                 ntohs(((struct sockaddr_in *)&address->bytes)->sin_port));
    CHECK(listen(receiver->listener, 16) == 0);
    CHECK(pthread_create(&receiver->thread, NULL, accept_all, receiver) == 0);
}

void receiver_stop(struct receiver *receiver) {
    shutdown(receiver->listener, SHUT_RDWR);
    pthread_join(receiver->thread, NULL);
    close(receiver->listener);
    pthread_mutex_destroy(&receiver->mutex);
}

static int read_count(struct receiver *receiver, const int *count) {
    pthread_mutex_lock(&receiver->mutex);
    int now = *count;
    pthread_mutex_unlock(&receiver->mutex);
    return now;
}

int receiver_requests(struct receiver *receiver) {
    return read_count(receiver, &receiver->requests);
}

int receiver_connections(struct receiver *receiver) {
    return read_count(receiver, &receiver->connections);
}

int main(void) {
    CHECK(signal(SIGPIPE, SIG_DFL) != SIG_ERR); /* a SIGPIPE would end the tests, as it would end a server */
    alarm(60);
    test_text();
    test_config();
    test_reply();
    test_http();
    test_functions();
    puts("all right");
    return 0;
}
