#include "check.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct config config;
static char problem[PROBLEM_SIZE];

static bool parse(const char *text) {
    char copy[4096];
    snprintf(copy, sizeof copy, "%s", text);
    problem[0] = '\0';
    return config_parse(copy, &config, problem);
}

static void refuses(const char *text, const char *expected) {
    CHECK(!parse(text));
    if (strstr(problem, expected) == NULL)
        fprintf(stderr, "%s: %s\n", text, problem);
    CHECK(strstr(problem, expected) != NULL);
    CHECK(config.target.length == 0 && config.allowed == 0 && config.doorbell_length == 0 && config.token[0] == '\0');
}

static void reads_all_options(void) {
    CHECK(parse("# a comment\n\n target = 127.0.0.1:3888 \r\nsource=shop_1\ntoken = abc-._~+/=09\n"
                "doorbell = /run/tcsql/shop.bell\nconnect_timeout_ms = 50\ntimeout_ms=200\nidle_ms=1\ncooldown_ms=7\n"
                "failures=3\nmax_body=1000\nallow = 192.168.8.34:3888\nallow=[2001:db8::1]:80"));
    CHECK(config.target.bytes.ss_family == AF_INET && strcmp(config.target.name, "127.0.0.1:3888") == 0);
    CHECK(strcmp(config.source, "shop_1") == 0 && strcmp(config.token, "abc-._~+/=09") == 0);
    CHECK(strcmp(config.doorbell.sun_path, "/run/tcsql/shop.bell") == 0);
    CHECK(config.connect_ms == 50 && config.timeout_ms == 200 && config.idle_ms == 1 && config.cooldown_ms == 7);
    CHECK(config.failures == 3 && config.max_body == 1000 && config.allowed == 2);
    CHECK(strcmp(config.allow[1].name, "[2001:db8::1]:80") == 0 && config.allow[1].bytes.ss_family == AF_INET6);
    CHECK(parse("target=/run/tcsql/push.sock\nsource=a") && config.target.bytes.ss_family == AF_UNIX);
    CHECK(parse("target=[::1]:1\nsource=a") && config.target.bytes.ss_family == AF_INET6);
    CHECK(parse("target=127.9.9.9:65535\nsource=a"));
    CHECK(parse("") && config.target.length == 0 && config.timeout_ms == 100 && config.max_body == 65536);
}

static void refuses_what_it_does_not_know(void) {
    refuses("target = localhost:3888\nsource=a", "line 1: target is");
    refuses("source=a\ntarget = 192.168.8.34:3888", "line 2: target is");
    refuses("target = [2001:db8::1]:80", "target is");
    refuses("target = 127.0.0.1:0", "target is");
    refuses("target = 127.0.0.1:65536", "target is");
    refuses("target = 127.0.0.1:080", "target is");
    refuses("target = 127.0.0.1: 80", "target is");
    refuses("target = 127.0.0.1", "target is");
    refuses("target = 127.1:80", "target is");
    refuses("target = run/push.sock", "target is");
    refuses("target = /a\ntarget = /b", "twice");
    refuses("target = /a", "needs a source");
    refuses("allow = example.com:80", "allow is");
    refuses("source = a b", "source is");
    refuses("source = a&b", "source is");
    refuses("source = a\nsource = b", "twice");
    refuses("token = a\x01", "token is");
    refuses("token = a b", "token is");
    refuses("doorbell = bell", "doorbell is");
    refuses("doorbell = /a\ndoorbell = /b", "doorbell is");
    refuses("timeout_ms = 0", "number");
    refuses("timeout_ms = 10001", "number");
    refuses("timeout_ms = 1s", "number");
    refuses("timeout_ms = 99999999999999999999", "number");
    refuses("max_body = 65537", "number");
    refuses("timout_ms = 1", "unknown option");
    refuses("hello", "option = value");
    refuses("token =", "without a value");
    char many[2000] = "";
    for (int at = 0; at < 17; at++)
        strcat(many, "allow = 10.0.0.1:80\n");
    refuses(many, "line 17: more than 16");
    char longest[400] = "token = ";
    memset(longest + 8, 'a', 257);
    refuses(longest, "token is");
    longest[8 + 256] = '\0';
    CHECK(parse(longest) && strlen(config.token) == 256);
}

static void refuses_files_that_others_may_change(void) {
    const char *path = "config-under-test";
    FILE *file = fopen(path, "w");
    CHECK(file != NULL && fputs("target=/a\nsource=b\n", file) >= 0 && fclose(file) == 0);
    uid_t own = geteuid();
    CHECK(chmod(path, 0640) == 0 && config_read(path, own, &config, problem) && config.target.length > 0);
    CHECK(chmod(path, 0660) == 0 && !config_read(path, own, &config, problem) && strstr(problem, "chmod") != NULL);
    CHECK(chmod(path, 0602) == 0 && !config_read(path, own, &config, problem) && config.target.length == 0);
    CHECK(chmod(path, 0600) == 0);
    if (own == 0)
        CHECK(chown(path, 12345, 0) == 0 && config_read(path, 12345, &config, problem));
    CHECK(!config_read(path, own + 1, &config, problem) && strstr(problem, "belongs") != NULL);
    CHECK(truncate(path, 40000) == 0 && !config_read(path, own == 0 ? 12345 : own, &config, problem));
    CHECK(strstr(problem, "too large") != NULL);
    CHECK(truncate(path, 30) == 0 && !config_read(path, own == 0 ? 12345 : own, &config, problem));
    CHECK(strstr(problem, "NUL") != NULL && unlink(path) == 0);
    CHECK(!config_read(path, own, &config, problem) && strstr(problem, "is not there") != NULL);
    CHECK(!config_read(".", own, &config, problem) && strstr(problem, "regular") != NULL);
    CHECK(mkfifo(path, 0600) == 0 && !config_read(path, own, &config, problem) && unlink(path) == 0); /* no hang */
}

static void random_files(void) {
    static const char *const pieces[] = {"target", "=", "127.0.0.1:1", "\n", "allow", " ", "[::1]:2", "token", "source", "9", "#", "/x"};
    for (int round = 0; round < 20000; round++) {
        char text[512] = "";
        for (uint32_t count = dice(30); count > 0; count--)
            strcat(text, pieces[dice(sizeof pieces / sizeof pieces[0])]);
        if (!config_parse(text, &config, problem))
            CHECK(config.target.length == 0 && config.allowed == 0 && problem[0] != '\0');
    }
}

void test_config(void) {
    reads_all_options();
    refuses_what_it_does_not_know();
    refuses_files_that_others_may_change();
    random_files();
}
