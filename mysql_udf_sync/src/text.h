/* Texts: a buffer that grows, URL encoding, JSON. Pure; nothing here knows of servers or sockets. */
#ifndef TCSQL_TEXT_H
#define TCSQL_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* A text that grows. After memory ran out it takes nothing more and `failed` stays set until it is cleared. */
struct text {
    char *bytes;
    size_t used, size;
    bool failed;
};

void text_clear(struct text *text);
void text_free(struct text *text);
void text_add(struct text *text, const char *bytes, size_t length);
void text_add_string(struct text *text, const char *string);
void text_add_number(struct text *text, long long number);

/* Every byte but A-Z a-z 0-9 - . _ ~ as %XX: one form that every decoder reads, also where + is a blank. */
void text_add_encoded(struct text *text, const char *bytes, size_t length);

/* A query string that somebody else has encoded: only what would break the request line or end the query is
 * encoded (blanks, control bytes, bytes from 0x7f on, and #). */
void text_add_query(struct text *text, const char *bytes, size_t length);

/* A JSON string with its quotes. What is not UTF-8 becomes U+FFFD, byte by byte, so the result always is. */
void text_add_json_string(struct text *text, const char *bytes, size_t length);

/* A number as the server writes a DECIMAL: bare, leading zeros (ZEROFILL) dropped; quoted if it is no number. */
void text_add_json_decimal(struct text *text, const char *bytes, size_t length);

/* A double in the fewest digits that read back as the same double; null for what JSON cannot say. */
void text_add_json_real(struct text *text, double number);

/* The name of a column in the text of an expression: `t`.`id` and NEW.id give id; other texts stay as they are. */
void column_name(const char **bytes, size_t *length);

#endif
