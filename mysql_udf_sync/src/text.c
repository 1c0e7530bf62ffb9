#include "text.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char HEX[] = "0123456789ABCDEF";

void text_clear(struct text *text) {
    text->used = 0;
    text->failed = false;
}

void text_free(struct text *text) {
    free(text->bytes);
    *text = (struct text){0};
}

static bool make_room(struct text *text, size_t length) {
    if (text->failed || length > SIZE_MAX / 4 - text->used) {
        text->failed = true;
        return false;
    }
    size_t needed = text->used + length;
    if (needed > text->size) {
        size_t size = needed < 256 ? 256 : needed * 2;
        char *bytes = realloc(text->bytes, size);
        if (bytes == NULL) {
            text->failed = true;
            return false;
        }
        text->bytes = bytes;
        text->size = size;
    }
    return true;
}

void text_add(struct text *text, const char *bytes, size_t length) {
    if (length > 0 && make_room(text, length)) {
        memcpy(text->bytes + text->used, bytes, length);
        text->used += length;
    }
}

void text_add_string(struct text *text, const char *string) {
    text_add(text, string, strlen(string));
}

void text_add_number(struct text *text, long long number) {
    char digits[24];
    text_add(text, digits, (size_t)snprintf(digits, sizeof digits, "%lld", number));
}

static bool is_letter_or_digit(unsigned char byte) {
    return (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9');
}

static bool is_unreserved(unsigned char byte) {
    return is_letter_or_digit(byte) || byte == '-' || byte == '.' || byte == '_' || byte == '~';
}

static bool is_fit_for_a_query(unsigned char byte) {
    return byte > ' ' && byte < 0x7f && byte != '#';
}

static void add_encoded(struct text *text, const char *bytes, size_t length, bool stays(unsigned char)) {
    if (length > SIZE_MAX / 16) {
        text->failed = true;
        return;
    }
    if (!make_room(text, length * 3))
        return;
    char *to = text->bytes + text->used;
    for (size_t at = 0; at < length; at++) {
        unsigned char byte = (unsigned char)bytes[at];
        if (stays(byte)) {
            *to++ = (char)byte;
        } else {
            *to++ = '%';
            *to++ = HEX[byte >> 4];
            *to++ = HEX[byte & 15];
        }
    }
    text->used = (size_t)(to - text->bytes);
}

void text_add_encoded(struct text *text, const char *bytes, size_t length) {
    add_encoded(text, bytes, length, is_unreserved);
}

void text_add_query(struct text *text, const char *bytes, size_t length) {
    add_encoded(text, bytes, length, is_fit_for_a_query);
}

/* The length of the UTF-8 sequence at `bytes`, 0 if there is none: no overlong forms, surrogates, or beyond U+10FFFF. */
static size_t utf8_length(const unsigned char *bytes, size_t left) {
    unsigned char first = bytes[0], low = 0x80, high = 0xbf;
    size_t length;
    if (first < 0x80)
        return 1;
    if (first >= 0xc2 && first <= 0xdf) {
        length = 2;
    } else if (first >= 0xe0 && first <= 0xef) {
        length = 3;
        low = first == 0xe0 ? 0xa0 : 0x80;
        high = first == 0xed ? 0x9f : 0xbf;
    } else if (first >= 0xf0 && first <= 0xf4) {
        length = 4;
        low = first == 0xf0 ? 0x90 : 0x80;
        high = first == 0xf4 ? 0x8f : 0xbf;
    } else {
        return 0;
    }
    if (length > left || bytes[1] < low || bytes[1] > high)
        return 0;
    for (size_t at = 2; at < length; at++)
        if ((bytes[at] & 0xc0) != 0x80)
            return 0;
    return length;
}

static void add_json_control(struct text *text, unsigned char byte) {
    static const char SHORT[] = "btn\0fr"; /* 8 to 13; 11 has no short form */
    char escape[6] = {'\\', 'u', '0', '0', HEX[byte >> 4], HEX[byte & 15]};
    if (byte >= 8 && byte <= 13 && SHORT[byte - 8] != '\0') {
        escape[1] = SHORT[byte - 8];
        text_add(text, escape, 2);
    } else {
        text_add(text, escape, 6);
    }
}

void text_add_json_string(struct text *text, const char *bytes, size_t length) {
    const unsigned char *from = (const unsigned char *)bytes;
    text_add(text, "\"", 1);
    size_t plain = 0; /* where the stretch that needs no escape began */
    for (size_t at = 0; at < length;) {
        size_t step = utf8_length(from + at, length - at);
        if (step > 1 || (step == 1 && from[at] >= ' ' && from[at] != '"' && from[at] != '\\')) {
            at += step;
            continue;
        }
        text_add(text, bytes + plain, at - plain);
        if (step == 0) {
            text_add(text, "\xef\xbf\xbd", 3);
        } else if (from[at] < ' ') {
            add_json_control(text, from[at]);
        } else {
            char escape[2] = {'\\', bytes[at]};
            text_add(text, escape, 2);
        }
        plain = ++at;
    }
    if (length > plain)
        text_add(text, bytes + plain, length - plain);
    text_add(text, "\"", 1);
}

static size_t digits(const char *bytes, size_t at, size_t length) {
    while (at < length && bytes[at] >= '0' && bytes[at] <= '9')
        at++;
    return at;
}

void text_add_json_decimal(struct text *text, const char *bytes, size_t length) {
    size_t start = length > 0 && bytes[0] == '-' ? 1 : 0;
    size_t point = digits(bytes, start, length), end = point;
    if (point < length && bytes[point] == '.')
        end = digits(bytes, point + 1, length);
    if (point == start || end != length || end == point + 1) {
        text_add_json_string(text, bytes, length);
        return;
    }
    size_t first = start;
    while (first + 1 < point && bytes[first] == '0')
        first++;
    text_add(text, bytes, start);
    text_add(text, bytes + first, length - first);
}

void text_add_json_real(struct text *text, double number) {
    char digits_of[32];
    if (!isfinite(number)) {
        text_add_string(text, "null");
        return;
    }
    for (int precision = 15; precision <= 17; precision++) {
        snprintf(digits_of, sizeof digits_of, "%.*g", precision, number);
        if (strtod(digits_of, NULL) == number)
            break;
    }
    char *comma = strchr(digits_of, ','); /* the server's locale may have one */
    if (comma != NULL)
        *comma = '.';
    text_add_string(text, digits_of);
}

void column_name(const char **bytes, size_t *length) {
    const char *start = *bytes;
    size_t last = 0, size = *length;
    if (size == 0 || (start[0] >= '0' && start[0] <= '9'))
        return;
    for (size_t at = 0; at < size; at++) {
        unsigned char byte = (unsigned char)start[at];
        if (byte == '.')
            last = at + 1;
        else if (!is_letter_or_digit(byte) && byte != '_' && byte != '$' && byte != '`' && byte < 0x80)
            return;
    }
    if (last == size)
        return;
    start += last;
    size -= last;
    if (size > 2 && start[0] == '`' && start[size - 1] == '`') {
        start++;
        size -= 2;
    }
    *bytes = start;
    *length = size;
}
