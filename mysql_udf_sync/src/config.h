/* The configuration file, read once per process. It alone says where requests may go: SQL cannot. */
#ifndef TCSQL_CONFIG_H
#define TCSQL_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

#define MOST_ALLOWED 16
#define MOST_BODY_BYTES 65536

/* Where to connect. `length` 0: nowhere. `name` is what the Host header says. */
struct address {
    struct sockaddr_storage bytes;
    socklen_t length;
    char name[64];
};

struct config {
    struct address target;
    char source[65];
    char token[257];
    struct sockaddr_un doorbell;
    socklen_t doorbell_length; /* 0: none */
    long connect_ms, timeout_ms, idle_ms, cooldown_ms, failures, max_body;
    size_t allowed;
    struct address allow[MOST_ALLOWED]; /* host:port pairs that http_post may name, compared as text */
};

#define PROBLEM_SIZE 160

/* Read the file. False: `problem` says why, `config` has no target, no doorbell and allows nothing.
 *
 * The file must be a regular one that belongs to root, or to `server` (the account the server runs as), and that
 * nobody else may write. An unknown or malformed line refuses the whole file. Problems never quote the file. */
bool config_read(const char *path, uid_t server, struct config *config, char problem[PROBLEM_SIZE]);

/* The same for a text that has been read already. `text` is changed. */
bool config_parse(char *text, struct config *config, char problem[PROBLEM_SIZE]);

#endif
