#include "config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOST_FILE 32768

static void set_defaults(struct config *config) {
    *config = (struct config){
        .connect_ms = 100,
        .timeout_ms = 100,
        .idle_ms = 5000,
        .cooldown_ms = 1000,
        .failures = 5,
        .max_body = MOST_BODY_BYTES,
    };
}

/* A port without sign, blank or leading zero: one spelling, so that comparing texts is comparing ports. */
static bool read_port(const char *text, in_port_t *port) {
    size_t length = strspn(text, "0123456789");
    long number = length > 0 && length <= 5 && text[length] == '\0' ? strtol(text, NULL, 10) : 0;
    *port = htons((in_port_t)number);
    return number >= 1 && number <= 65535 && text[0] != '0';
}

static bool read_inet(const char *text, struct address *address) {
    char host[64];
    const char *colon = strrchr(text, ':');
    if (colon == NULL || (size_t)(colon - text) >= sizeof host || strlen(text) >= sizeof address->name)
        return false;
    size_t length = (size_t)(colon - text);
    bool six = length > 2 && text[0] == '[' && text[length - 1] == ']';
    snprintf(host, sizeof host, "%.*s", (int)(six ? length - 2 : length), six ? text + 1 : text);
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    if (six ? inet_pton(AF_INET6, host, &v6.sin6_addr) != 1 : inet_pton(AF_INET, host, &v4.sin_addr) != 1)
        return false;
    if (!read_port(colon + 1, six ? &v6.sin6_port : &v4.sin_port))
        return false;
    address->length = six ? sizeof v6 : sizeof v4;
    memcpy(&address->bytes, six ? (void *)&v6 : (void *)&v4, address->length);
    snprintf(address->name, sizeof address->name, "%s", text);
    return true;
}

static bool is_loopback(const struct address *address) {
    if (address->bytes.ss_family == AF_INET6)
        return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)&address->bytes)->sin6_addr);
    return (ntohl(((const struct sockaddr_in *)&address->bytes)->sin_addr.s_addr) >> 24) == 127;
}

static bool read_unix(const char *path, struct sockaddr_un *address, socklen_t *length) {
    if (path[0] != '/' || strlen(path) >= sizeof address->sun_path)
        return false;
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    strcpy(address->sun_path, path);
    *length = sizeof *address;
    return true;
}

static const char *read_target(const char *value, struct address *address) {
    struct sockaddr_un local;
    if (address->length > 0)
        return "target is given twice";
    if (read_unix(value, &local, &address->length)) {
        memcpy(&address->bytes, &local, sizeof local);
        strcpy(address->name, "localhost");
        return NULL;
    }
    if (!read_inet(value, address) || !is_loopback(address)) {
        address->length = 0;
        return "target is the path of a unix socket, or 127.0.0.1:port, or [::1]:port; no names";
    }
    return NULL;
}

static const char *read_allow(const char *value, struct config *config) {
    if (config->allowed == MOST_ALLOWED)
        return "more than 16 lines allow";
    if (!read_inet(value, &config->allow[config->allowed]))
        return "allow is an address:port; no names";
    config->allowed++;
    return NULL;
}

static const char *read_word(const char *value, char *word, size_t size, const char *punctuation, const char *problem) {
    if (word[0] != '\0')
        return "an option is given twice";
    for (const char *at = value; *at != '\0'; at++) {
        bool letter = (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') || (*at >= '0' && *at <= '9');
        if (!letter && strchr(punctuation, *at) == NULL)
            return problem;
    }
    if (strlen(value) >= size)
        return problem;
    strcpy(word, value);
    return NULL;
}

static const char *read_number(const char *value, long *number, long most) {
    size_t length = strspn(value, "0123456789");
    if (length == 0 || length > 8 || value[length] != '\0' || strtol(value, NULL, 10) < 1 ||
        strtol(value, NULL, 10) > most)
        return "a number is missing, below 1 or too large";
    *number = strtol(value, NULL, 10);
    return NULL;
}

/* NULL, or what is wrong. */
static const char *read_option(const char *name, const char *value, struct config *config) {
    struct {
        const char *name;
        long *number, most;
    } numbers[] = {
        {"connect_timeout_ms", &config->connect_ms, 10000}, {"timeout_ms", &config->timeout_ms, 10000},
        {"idle_ms", &config->idle_ms, 3600000},             {"cooldown_ms", &config->cooldown_ms, 3600000},
        {"failures", &config->failures, 1000000},           {"max_body", &config->max_body, MOST_BODY_BYTES},
    };
    for (size_t at = 0; at < sizeof numbers / sizeof numbers[0]; at++)
        if (strcmp(name, numbers[at].name) == 0)
            return read_number(value, numbers[at].number, numbers[at].most);
    if (strcmp(name, "target") == 0)
        return read_target(value, &config->target);
    if (strcmp(name, "allow") == 0)
        return read_allow(value, config);
    if (strcmp(name, "source") == 0)
        return read_word(value, config->source, sizeof config->source, "_-", "source is a name: letters, digits, _ -");
    if (strcmp(name, "token") == 0)
        return read_word(value, config->token, sizeof config->token, "-._~+/=", "token is at most 256 of A-Za-z0-9-._~+/=");
    if (strcmp(name, "doorbell") == 0) {
        bool fits = config->doorbell_length == 0 && read_unix(value, &config->doorbell, &config->doorbell_length);
        return fits ? NULL : "doorbell is the path of one unix socket";
    }
    return "an unknown option";
}

static char *trimmed(char *text) {
    text += strspn(text, " \t\r");
    size_t length = strlen(text);
    while (length > 0 && strchr(" \t\r", text[length - 1]) != NULL)
        length--;
    text[length] = '\0';
    return text;
}

static const char *read_line(char *line, struct config *config) {
    line = trimmed(line);
    if (line[0] == '\0' || line[0] == '#')
        return NULL;
    char *equals = strchr(line, '=');
    if (equals == NULL)
        return "a line is: option = value";
    *equals = '\0';
    char *value = trimmed(equals + 1);
    return value[0] == '\0' ? "an option without a value" : read_option(trimmed(line), value, config);
}

bool config_parse(char *text, struct config *config, char problem[PROBLEM_SIZE]) {
    set_defaults(config);
    int number = 1;
    for (char *line = text; line != NULL; number++) {
        char *end = strchr(line, '\n');
        if (end != NULL)
            *end++ = '\0';
        const char *wrong = read_line(line, config);
        if (wrong != NULL) {
            snprintf(problem, PROBLEM_SIZE, "line %d: %s", number, wrong);
            set_defaults(config);
            return false;
        }
        line = end;
    }
    if (config->target.length > 0 && config->source[0] == '\0') {
        snprintf(problem, PROBLEM_SIZE, "a target needs a source: the name in tcsql.toml");
        set_defaults(config);
        return false;
    }
    return true;
}

static const char *refusal(int file, uid_t server) {
    struct stat about;
    if (fstat(file, &about) != 0 || !S_ISREG(about.st_mode))
        return "is not a regular file";
    if (about.st_uid != 0 && about.st_uid != server)
        return "belongs neither to root nor to the server's account";
    if ((about.st_mode & (S_IWGRP | S_IWOTH)) != 0)
        return "may be written by others: chmod go-w";
    return about.st_size > MOST_FILE ? "is too large" : NULL;
}

static const char *read_file(const char *path, uid_t server, char *text) {
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (file < 0)
        return errno == ENOENT ? "is not there" : "cannot be read by the server's account";
    const char *wrong = refusal(file, server);
    size_t used = 0;
    while (wrong == NULL && used < MOST_FILE) {
        ssize_t count = read(file, text + used, MOST_FILE - used);
        if (count == 0)
            break;
        if (count > 0)
            used += (size_t)count;
        else if (errno != EINTR)
            wrong = "cannot be read";
    }
    close(file);
    text[used] = '\0';
    return wrong == NULL && strlen(text) != used ? "has a NUL byte" : wrong;
}

bool config_read(const char *path, uid_t server, struct config *config, char problem[PROBLEM_SIZE]) {
    char *text = malloc(MOST_FILE + 1); /* a trigger deep in others leaves little of the thread's stack */
    const char *wrong = text == NULL ? "cannot be read: no memory" : read_file(path, server, text);
    bool fine = wrong == NULL && config_parse(text, config, problem);
    if (wrong != NULL) {
        set_defaults(config);
        snprintf(problem, PROBLEM_SIZE, "%.100s %s", path, wrong);
    }
    free(text);
    return fine;
}
