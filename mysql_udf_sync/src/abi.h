/* What a server passes to a loadable function: the interface of MySQL 5.1 and later and of MariaDB, by itself.
 *
 * The servers' own headers differ (my_bool, bool) and MariaDB's client header lacks the last members, but on 64-bit
 * systems every member has the same place and size. One source, and one binary, serve both.
 */
#ifndef TCSQL_ABI_H
#define TCSQL_ABI_H

typedef char udf_bool; /* my_bool there, bool here: one byte, 0 or 1 */

enum udf_type { UDF_STRING, UDF_REAL, UDF_INT, UDF_ROW, UDF_DECIMAL };

typedef struct {
    unsigned int arg_count;
    enum udf_type *arg_type; /* may be set by an init function: the server then converts */
    char **args;             /* a decimal is a text; NULL is a null pointer */
    unsigned long *lengths;  /* of texts; they do not end with a NUL */
    char *maybe_null;
    char **attributes; /* the text or alias of each argument */
    unsigned long *attribute_lengths;
    void *extension;
} udf_args;

typedef struct {
    udf_bool maybe_null;
    unsigned int decimals;
    unsigned long max_length;
    char *ptr; /* ours */
    udf_bool const_item;
    void *extension;
} udf_init;

_Static_assert(sizeof(udf_args) == 64 && sizeof(udf_init) == 40, "the interface is known for 64-bit systems");

#define UDF_MESSAGE_SIZE 512 /* what an init function may write into its message */
#define UDF_EXPORT __attribute__((visibility("default")))

#endif
