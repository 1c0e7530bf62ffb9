/* The SQL functions that send nothing: urlencode, and JSON objects for servers that have no JSON_OBJECT.
 *
 * Each call of a function in a statement has a buffer of its own (init->ptr), from its init to its deinit. */
#include "abi.h"
#include "text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_RESULT 0xffffff /* of a MEDIUMTEXT: the server takes the result for a text, not for a CHAR */

static char *result_of(const struct text *text, unsigned long *length, char *is_null) {
    *is_null = text->failed;
    *length = text->failed ? 0 : text->used;
    return text->failed ? NULL : text->bytes;
}

UDF_EXPORT udf_bool urlencode_init(udf_init *init, udf_args *args, char *message) {
    if (args->arg_count != 1) {
        strcpy(message, "Wrong arguments to urlencode");
        return 1;
    }
    args->arg_type[0] = UDF_STRING;
    init->maybe_null = 1;
    init->max_length = MOST_RESULT;
    init->ptr = calloc(1, sizeof(struct text));
    return 0;
}

UDF_EXPORT void urlencode_deinit(udf_init *init) {
    if (init->ptr != NULL)
        text_free((struct text *)(void *)init->ptr);
    free(init->ptr);
}

/* urlencode(text): every byte but A-Z a-z 0-9 - . _ ~ as %XX. */
UDF_EXPORT char *urlencode(
    udf_init *init, udf_args *args, char *result, unsigned long *length, char *is_null, char *error) {
    (void)error;
    struct text *text = (struct text *)(void *)init->ptr;
    *is_null = 1;
    if (text == NULL || args->args[0] == NULL)
        return NULL;
    if (args->lengths[0] == 0) {
        *is_null = 0;
        *length = 0;
        return result;
    }
    text_clear(text);
    text_add_encoded(text, args->args[0], args->lengths[0]);
    return result_of(text, length, is_null);
}

/* The members' names, ready to be written (`"id":`), one behind the other, and where each ends. */
struct object {
    struct text out, names;
    size_t ends[];
};

static struct object *object_for(const udf_args *args) {
    struct object *object = calloc(1, sizeof *object + args->arg_count * sizeof object->ends[0]);
    if (object == NULL)
        return NULL;
    for (unsigned at = 0; at < args->arg_count; at++) {
        const char *name = args->attributes[at];
        size_t length = name == NULL ? 0 : args->attribute_lengths[at];
        column_name(&name, &length);
        text_add_json_string(&object->names, name, length);
        text_add(&object->names, ":", 1);
        object->ends[at] = object->names.used;
    }
    return object;
}

UDF_EXPORT udf_bool tcsql_json_object_init(udf_init *init, udf_args *args, char *message) {
    (void)message;
    init->maybe_null = 1;
    init->max_length = MOST_RESULT;
    init->ptr = (char *)object_for(args);
    return 0;
}

UDF_EXPORT void tcsql_json_object_deinit(udf_init *init) {
    struct object *object = (struct object *)(void *)init->ptr;
    if (object != NULL) {
        text_free(&object->out);
        text_free(&object->names);
    }
    free(object);
}

static void add_value(struct text *out, const udf_args *args, unsigned at) {
    const char *value = args->args[at];
    if (value == NULL) {
        text_add_string(out, "null");
    } else if (args->arg_type[at] == UDF_INT) {
        long long number;
        memcpy(&number, value, sizeof number);
        text_add_number(out, number);
    } else if (args->arg_type[at] == UDF_REAL) {
        double number;
        memcpy(&number, value, sizeof number);
        text_add_json_real(out, number);
    } else if (args->arg_type[at] == UDF_DECIMAL) {
        text_add_json_decimal(out, value, args->lengths[at]);
    } else {
        text_add_json_string(out, value, args->lengths[at]);
    }
}

/* tcsql_json_object(expression [AS name], ...): numbers bare, NULL as null, everything else as a string. */
UDF_EXPORT char *tcsql_json_object(
    udf_init *init, udf_args *args, char *result, unsigned long *length, char *is_null, char *error) {
    (void)result, (void)error;
    struct object *object = (struct object *)(void *)init->ptr;
    if (object == NULL || object->names.failed) {
        *is_null = 1;
        return NULL;
    }
    struct text *out = &object->out;
    text_clear(out);
    text_add(out, "{", 1);
    for (unsigned at = 0; at < args->arg_count; at++) {
        size_t begin = at > 0 ? object->ends[at - 1] : 0;
        text_add(out, ",", at > 0 ? 1 : 0);
        text_add(out, object->names.bytes + begin, object->ends[at] - begin);
        add_value(out, args, at);
    }
    text_add(out, "}", 1);
    return result_of(out, length, is_null);
}

/* The name of 2010, for servers without a JSON_OBJECT of their own (elsewhere it cannot be registered). */
UDF_EXPORT udf_bool json_object_init(udf_init *init, udf_args *args, char *message)
    __attribute__((alias("tcsql_json_object_init")));
UDF_EXPORT void json_object_deinit(udf_init *init) __attribute__((alias("tcsql_json_object_deinit")));
UDF_EXPORT char *json_object(
    udf_init *init, udf_args *args, char *result, unsigned long *length, char *is_null, char *error)
    __attribute__((alias("tcsql_json_object")));
