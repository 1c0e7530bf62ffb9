#include "check.h"
#include "text.h"

#include <math.h>
#include <string.h>

typedef void adder(struct text *text, const char *bytes, size_t length);

static void gives(adder add, const char *bytes, size_t length, const char *expected) {
    struct text text = {0};
    char *exact = malloc(length + 1); /* of the exact size, so that a read past the end is seen */
    memcpy(exact, bytes, length);
    exact = realloc(exact, length > 0 ? length : 1);
    add(&text, exact, length);
    if (text.used != strlen(expected) || memcmp(text.bytes, expected, text.used) != 0)
        fprintf(stderr, "%.*s instead of %s\n", (int)text.used, text.bytes, expected);
    CHECK(text.used == strlen(expected) && memcmp(text.bytes, expected, text.used) == 0);
    free(exact);
    text_free(&text);
}

#define GIVES(add, bytes, expected) gives(add, bytes, sizeof(bytes) - 1, expected)

static void encoding(void) {
    GIVES(text_add_encoded, "azAZ09-._~", "azAZ09-._~");
    GIVES(text_add_encoded, " +&=%/?\r\n\0", "%20%2B%26%3D%25%2F%3F%0D%0A%00");
    GIVES(text_add_encoded, "\xe5\xbc\xa0", "%E5%BC%A0");
    GIVES(text_add_query, "command=delete&where=pkey:STREQ:a|b", "command=delete&where=pkey:STREQ:a|b");
    GIVES(text_add_query, "a HTTP/1.1\r\nEvil: 1\r\n\r\n\0#\x7f\xff", "a%20HTTP/1.1%0D%0AEvil:%201%0D%0A%0D%0A%00%23%7F%FF");
}

static void json_strings(void) {
    GIVES(text_add_json_string, "", "\"\"");
    GIVES(text_add_json_string, "it's \"quoted\" \\ /", "\"it's \\\"quoted\\\" \\\\ /\"");
    GIVES(text_add_json_string, "\b\t\n\v\f\r\x1f\0x", "\"\\b\\t\\n\\u000B\\f\\r\\u001F\\u0000x\"");
    GIVES(text_add_json_string, "\xc3\xbc\xe6\xbc\xa2\xf0\x9f\x98\x80", "\"\xc3\xbc\xe6\xbc\xa2\xf0\x9f\x98\x80\"");
#define BAD "\xef\xbf\xbd"
    GIVES(text_add_json_string, "a\xff" "b\xc3", "\"a" BAD "b" BAD "\"");
    GIVES(text_add_json_string, "\xc0\xaf", "\"" BAD BAD "\"");                 /* overlong */
    GIVES(text_add_json_string, "\xed\xa0\x80", "\"" BAD BAD BAD "\"");         /* a surrogate */
    GIVES(text_add_json_string, "\xf4\x90\x80\x80", "\"" BAD BAD BAD BAD "\""); /* beyond U+10FFFF */
    GIVES(text_add_json_string, "\xf0\x9f\x98", "\"" BAD BAD BAD "\"");         /* cut off */
    GIVES(text_add_json_string, "\xe9t\xe9", "\"" BAD "t" BAD "\"");            /* latin1 */
}

static void json_numbers(void) {
    GIVES(text_add_json_decimal, "0", "0");
    GIVES(text_add_json_decimal, "-12.50", "-12.50");
    GIVES(text_add_json_decimal, "0000012.50", "12.50");
    GIVES(text_add_json_decimal, "-00.5", "-0.5");
    GIVES(text_add_json_decimal, "99999999999999999999999999999999999.123456789012345678901234567890",
          "99999999999999999999999999999999999.123456789012345678901234567890");
    GIVES(text_add_json_decimal, "", "\"\"");
    GIVES(text_add_json_decimal, "-", "\"-\"");
    GIVES(text_add_json_decimal, "1.", "\"1.\"");
    GIVES(text_add_json_decimal, ".5", "\".5\"");
    GIVES(text_add_json_decimal, "1e5", "\"1e5\"");
    GIVES(text_add_json_decimal, "1\0", "\"1\\u0000\"");
    static const struct {
        double number;
        const char *expected;
    } reals[] = {
        {0, "0"}, {1.5, "1.5"}, {0.1, "0.1"}, {1234567.75, "1234567.75"}, {1e300, "1e+300"}, {5e-324, "4.94065645841247e-324"},
        {0.30000000000000004, "0.30000000000000004"}, {(double)1.1f, "1.100000023841858"}, {NAN, "null"}, {-INFINITY, "null"},
    };
    for (size_t at = 0; at < sizeof reals / sizeof reals[0]; at++) {
        struct text text = {0};
        text_add_json_real(&text, reals[at].number);
        text_add(&text, "", 1);
        if (strcmp(text.bytes, reals[at].expected) != 0)
            fprintf(stderr, "%s instead of %s\n", text.bytes, reals[at].expected);
        CHECK(strcmp(text.bytes, reals[at].expected) == 0);
        text_free(&text);
    }
}

static void names(void) {
    static const char *const pairs[][2] = {
        {"id", "id"}, {"NEW.id", "id"}, {"`shop`.`posts`.`id`", "id"}, {"t.`a`", "a"}, {"concat(a.b, 'x')", "concat(a.b, 'x')"},
        {"1.5", "1.5"}, {"t.", "t."}, {"``", "``"}, {"", ""}, {"a b", "a b"}, {"p.gr\xc3\xb6\xc3\x9f" "e", "gr\xc3\xb6\xc3\x9f" "e"},
    };
    for (size_t at = 0; at < sizeof pairs / sizeof pairs[0]; at++) {
        const char *name = pairs[at][0];
        size_t length = strlen(name);
        column_name(&name, &length);
        CHECK(length == strlen(pairs[at][1]) && memcmp(name, pairs[at][1], length) == 0);
    }
}

static int replacements(const struct text *text) {
    int count = 0;
    const char *at = text->bytes, *end = text->bytes + text->used;
    while ((at = memmem(at, (size_t)(end - at), "\xef\xbf\xbd", 3)) != NULL) {
        count++;
        at += 3;
    }
    return count;
}

/* Whatever the bytes: no bare control byte, and UTF-8 (read again, nothing more is replaced). */
static void random_bytes(void) {
    for (int round = 0; round < 20000; round++) {
        size_t length = dice(40);
        char *bytes = malloc(length > 0 ? length : 1);
        for (size_t at = 0; at < length; at++)
            bytes[at] = (char)(dice(3) ? "\xc3\xa9\xf0\x9f\x98\x80\"\\\n a\xed\xa0"[dice(13)] : (int)dice(256));
        struct text once = {0}, twice = {0}, encoded = {0};
        text_add_json_string(&once, bytes, length);
        for (size_t at = 1; at + 1 < once.used; at++)
            CHECK((unsigned char)once.bytes[at] >= ' ');
        text_add_json_string(&twice, once.bytes, once.used);
        CHECK(replacements(&once) == replacements(&twice));
        text_add_encoded(&encoded, bytes, length);
        CHECK(encoded.used <= 3 * length && !encoded.failed);
        free(bytes);
        text_free(&once);
        text_free(&twice);
        text_free(&encoded);
    }
}

static void memory_that_runs_out_is_noted(void) {
    struct text text = {0};
    text_add_encoded(&text, "", SIZE_MAX / 8); /* never read: the size alone is refused */
    CHECK(text.failed);
    text_add_string(&text, "x");
    CHECK(text.used == 0);
    text_clear(&text);
    text_add_string(&text, "x");
    CHECK(text.used == 1 && !text.failed);
    text_free(&text);
}

void test_text(void) {
    encoding();
    json_strings();
    json_numbers();
    names();
    random_bytes();
    memory_that_runs_out_is_noted();
}
