/* SPDX-License-Identifier: MIT
 *
 * documents.c — single values out of the JSON documents that a trace carries.
 */
#include <stdio.h>
#include <string.h>

#include <yyjson.h>

#include "sparsetrace/trace.h"

static void print_value(yyjson_val *v, char *buf, size_t size)
{
    if (yyjson_is_str(v))
        snprintf(buf, size, "%s", yyjson_get_str(v));
    else if (yyjson_is_bool(v))
        snprintf(buf, size, "%s", yyjson_get_bool(v) ? "true" : "false");
    else if (yyjson_is_uint(v))
        snprintf(buf, size, "%llu", (unsigned long long)yyjson_get_uint(v));
    else if (yyjson_is_int(v))
        snprintf(buf, size, "%lld", (long long)yyjson_get_sint(v));
    else if (yyjson_is_real(v))
        snprintf(buf, size, "%.6g", yyjson_get_real(v));
    if (yyjson_is_real(v) && strchr(buf, ',') != NULL)
        *strchr(buf, ',') = '.'; /* some locales write it so */
}

const char *st_trace_value(const st_trace *trace, const char *key, const char *pointer, char *buf,
                           size_t size)
{
    const char *json = st_trace_json(trace, key);
    yyjson_doc *doc = json != NULL ? yyjson_read(json, strlen(json), 0) : NULL;
    buf[0] = '\0';
    if (doc != NULL)
        print_value(yyjson_doc_ptr_get(doc, pointer), buf, size);
    yyjson_doc_free(doc);
    return buf;
}
