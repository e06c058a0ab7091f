/* SPDX-License-Identifier: MIT
 *
 * test_tensors.c — safetensors: what is written is read, what other writers may do is read too, and
 * each way for a header to be wrong has its own error at its own byte.
 */
#include <sys/stat.h>
#include <unistd.h>

#include "../unit/check.h"
#include "sample_trace.h" /* for its temporary files */

#include "sparsetrace/tensors.h"

/* A file of this header and `data_bytes` bytes 0, 1, 2, ... The length field says `n` (-1: the
 * truth). */
static const char *store(const char *header, size_t header_bytes, size_t data_bytes, int64_t n)
{
    const char *path = sample_path("raw.safetensors");
    size_t bytes = 8 + header_bytes + data_bytes;
    char *file = malloc(bytes);
    uint64_t length = n < 0 ? header_bytes : (uint64_t)n;
    memcpy(file, &length, 8);
    memcpy(file + 8, header, header_bytes);
    for (size_t i = 0; i < data_bytes; i++)
        file[8 + header_bytes + i] = (char)i;
    sample_store(path, file, bytes);
    free(file);
    return path;
}

/* ---- good files ------------------------------------------------------------------------------ */

static void test_round_trip(void)
{
    static const uint8_t u8[3] = {1, 2, 3};
    static const float f32[6] = {0, 1, 2, 3, 4, 5};
    static const double f64[1] = {7};
    static const uint16_t f16[2] = {0x3c00, 0};
    const st_tensor list[] = {
        {.name = "bytes", .type = ST_TENSOR_U8, .n_dim = 1, .shape = {3}, .data = u8, .bytes = 3},
        {.name = "a \"b\" \xc3\xa9",
         .type = ST_TENSOR_F32,
         .n_dim = 2,
         .shape = {2, 3},
         .data = f32,
         .bytes = 24},
        {.name = "scalar", .type = ST_TENSOR_F64, .data = f64, .bytes = 8},
        {.name = "half", .type = ST_TENSOR_F16, .n_dim = 1, .shape = {2}, .data = f16, .bytes = 4},
        {.name = "empty", .type = ST_TENSOR_I32, .n_dim = 2, .shape = {0, 5}},
    };
    static const char *const meta[][2] = {{"k", "v \n \"x\""}, {"a", ""}};
    const st_tensor *t;
    st_tensors *f;
    int64_t end = 0;
    CHECK_STATUS(st_tensors_write(sample_path("t.safetensors"), list, 5, meta, 2, NULL), ST_OK);
    CHECK_STATUS(st_tensors_open(sample_path("t.safetensors"), &f, NULL), ST_OK);
    if (f == NULL)
        return;
    CHECK_EQ(st_tensors_count(f), 5);
    CHECK(strcmp(st_tensors_meta(f, "k"), "v \n \"x\"") == 0 && *st_tensors_meta(f, "a") == '\0');
    CHECK(st_tensors_meta(f, "b") == NULL && st_tensors_find(f, "nothing") == NULL);
    CHECK(st_tensors_at(f, -1) == NULL && st_tensors_at(f, 5) == NULL);
    for (int64_t i = 0; i < 5; i++) {
        t = st_tensors_at(f, i);
        CHECK(t == st_tensors_find(f, t->name));
        CHECK(t->bytes == 0 || t->offset % (int64_t)st_tensor_type_bytes(t->type) == 0);
        CHECK(i == 0 || t->offset == end);
        end = t->offset + (int64_t)t->bytes;
    }
    t = st_tensors_find(f, "a \"b\" \xc3\xa9");
    CHECK(t != NULL && t->n_dim == 2 && t->shape[1] == 3 && memcmp(t->data, f32, 24) == 0);
    t = st_tensors_find(f, "empty");
    CHECK(t != NULL && t->bytes == 0 && t->shape[1] == 5);
    CHECK(st_tensors_find(f, "scalar")->n_dim == 0);
    st_tensors_free(f);
    CHECK_STATUS(st_tensors_write(sample_path("t.safetensors"), NULL, 0, NULL, 0, NULL), ST_OK);
    CHECK_STATUS(st_tensors_open(sample_path("t.safetensors"), &f, NULL), ST_OK);
    CHECK(f != NULL && st_tensors_count(f) == 0);
    st_tensors_free(f);
    st_tensors_free(NULL);
}

/* Tensors larger than any buffer on the way. */
static void test_large(void)
{
    static float a[200000], b[70000];
    const st_tensor list[] = {
        {.name = "a",
         .type = ST_TENSOR_F32,
         .n_dim = 1,
         .shape = {200000},
         .data = a,
         .bytes = sizeof a},
        {.name = "b",
         .type = ST_TENSOR_F32,
         .n_dim = 1,
         .shape = {70000},
         .data = b,
         .bytes = sizeof b},
        {.name = "c", .type = ST_TENSOR_F32, .n_dim = 1, .shape = {3}, .data = b, .bytes = 12},
    };
    st_tensors *f;
    for (int i = 0; i < 200000; i++)
        a[i] = (float)i;
    for (int i = 0; i < 70000; i++)
        b[i] = (float)-i;
    CHECK_STATUS(st_tensors_write(sample_path("l.safetensors"), list, 3, NULL, 0, NULL), ST_OK);
    CHECK_STATUS(st_tensors_open(sample_path("l.safetensors"), &f, NULL), ST_OK);
    for (int i = 0; i < 3 && f != NULL; i++)
        CHECK(memcmp(st_tensors_find(f, list[i].name)->data, list[i].data, list[i].bytes) == 0);
    st_tensors_free(f);
}

/* What other writers do: no padding, spaces at the end, unknown fields, odd orders. */
static void test_other_writers(void)
{
    static const char *const good[] = {
        "{}   ",
        "{\"b\":{\"shape\":[1],\"dtype\":\"U8\",\"data_offsets\":[0,1]},"
        "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[1,9],\"note\":[1,{}]}}",
        "{ \"a\" : {\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[1,9]} "
        ",\t\"z\":{\"dtype\":\"I64\","
        "\"shape\":[0],\"data_offsets\":[9,9]}, \"b\":{\"dtype\":\"BOOL\",\"shape\":[],"
        "\"data_offsets\":[0,1]}} \n",
    };
    static const size_t data[] = {0, 9, 9};
    for (int i = 0; i < 3; i++) {
        for (int spaces = 0; spaces < 9; spaces++) { /* every alignment of the data */
            char header[400];
            st_tensors *f;
            const st_tensor *t;
            int n = snprintf(header, sizeof header, "%s%*s", good[i], spaces, "");
            CHECK_STATUS(st_tensors_open(store(header, (size_t)n, data[i], -1), &f, NULL), ST_OK);
            t = f == NULL ? NULL : st_tensors_find(f, "a");
            CHECK((t != NULL) == (i > 0));
            if (t != NULL) {
                CHECK((uintptr_t)t->data % 4 == 0);
                CHECK(((const uint8_t *)t->data)[7] == 8 && t->offset == 8 + n + 1);
            }
            st_tensors_free(f);
        }
    }
}

/* ---- bad files ------------------------------------------------------------------------------- */

#define ENTRY(type, shape, range)                                                                  \
    "{\"dtype\":" type ",\"shape\":" shape ",\"data_offsets\":" range "}"
#define ONE(type, shape, range) "{\"a\":" ENTRY(type, shape, range) "}"

/* at: the byte of the file that the error must name. */
static const struct {
    const char *header;
    size_t data_bytes;
    const char *what;
    int64_t at;
} bad[] = {
    {"", 0, "begin with '{'", 8},
    {"[]", 0, "begin with '{'", 8},
    {" {}", 0, "begin with '{'", 8},
    {"{", 0, "not JSON", 9},
    {"{\"a\":1,}", 0, "not JSON", 14},
    {"{} {}", 0, "not JSON", 11},
    {"{\"\xff\":{}}", 0, "not JSON", 10},
    {"{'a':1}", 0, "not JSON", 9},
    {"{\"a\":NaN}", 0, "not JSON", 13},
    {"{\"a\":1}", 0, "not described by an object", 10},
    {"{\"a\\u0000b\":1}", 0, "U+0000", 10},
    {"{\"a\":{}}", 0, "has no dtype", 10},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, "has no data_offsets", 10},
    {"{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
     "two dtype", 10},
    {ONE("\"F31\"", "[1]", "[0,4]"), 4, "dtype F31 is unknown", 10},
    {ONE("\"f32\"", "[1]", "[0,4]"), 4, "dtype f32 is unknown", 10},
    {ONE("7", "[1]", "[0,4]"), 4, "dtype (not a string)", 10},
    {ONE("\"F32\"", "4", "[0,4]"), 4, "shape is not a list", 10},
    {ONE("\"F32\"", "[-1]", "[0,4]"), 4, "shape[0] is not a whole number", 10},
    {ONE("\"F32\"", "[1,1.0]", "[0,4]"), 4, "shape[1] is not a whole number", 10},
    {ONE("\"F32\"", "[\"1\"]", "[0,4]"), 4, "shape[0] is not a whole number", 10},
    {ONE("\"F32\"", "[18446744073709551615]", "[0,4]"), 4, "shape[0] is not a whole number", 10},
    {ONE("\"F32\"", "[99999999999999999999]", "[0,4]"), 4, "shape[0] is not a whole number", 10},
    {ONE("\"F32\"", "[1,1,1,1,1,1,1,1,1]", "[0,4]"), 4, "9 indices", 10},
    {ONE("\"F32\"", "[4611686018427387904]", "[0,0]"), 0, "overflows", 10},
    {ONE("\"U8\"", "[4294967296,4294967296]", "[0,0]"), 0, "overflows", 10},
    {ONE("\"U8\"", "[4294967296,4294967296,0]", "[0,0]"), 0, "overflows", 10},
    {ONE("\"F32\"", "[2]", "[0,4]"), 4, "takes 8 bytes, its data_offsets 4", 10},
    {ONE("\"F32\"", "[0]", "[0,4]"), 4, "takes 0 bytes", 10},
    {ONE("\"F32\"", "[1]", "[0]"), 4, "pair of whole numbers", 10},
    {ONE("\"F32\"", "[1]", "[0,4,8]"), 4, "pair of whole numbers", 10},
    {ONE("\"F32\"", "[1]", "[0,-4]"), 4, "pair of whole numbers", 10},
    {ONE("\"F32\"", "[1]", "[0,4.5]"), 4, "pair of whole numbers", 10},
    {ONE("\"F32\"", "[1]", "{\"0\":0,\"1\":4}"), 4, "pair of whole numbers", 10},
    {ONE("\"F32\"", "[1]", "[4,0]"), 4, "behind end", 10},
    {ONE("\"F32\"", "[1]", "[4,8]"), 8, "after a gap", 10},
    {ONE("\"F32\"", "[2]", "[0,8]"), 4, "the file has 4 bytes", 10},
    {ONE("\"F32\"", "[1]", "[0,4]"), 5, "1 bytes follow", 8 + 54 + 4},
    {"{}", 3, "3 bytes follow", 10},
    {"{\"a\":" ENTRY("\"U8\"", "[3]", "[0,3]") ",\"b\":" ENTRY("\"U8\"", "[3]", "[2,5]") "}", 5,
     "inside another tensor", 62},
    {"{\"a\":" ENTRY("\"U8\"", "[3]", "[0,3]") ",\"a\":" ENTRY("\"U8\"", "[2]", "[3,5]") "}", 5,
     "\"a\" occurs twice", 62},
    {"{\"a\":" ENTRY("\"U8\"", "[3]", "[0,3]") ",\"b\":" ENTRY("\"U8\"", "[0]", "[1,1]") "}", 3,
     "inside another tensor", 62},
    {"{\"__metadata__\":[]}", 0, "not an object", 10},
    {"{\"__metadata__\":{\"k\":1}}", 0, "\"k\" is not a string", 26},
    {"{\"__metadata__\":{\"k\":{\"x\":\"y\"}}}", 0, "\"k\" is not a string", 26},
    {"{\"__metadata__\":{\"k\":\"1\",\"k\":\"2\"}}", 0, "\"k\" occurs twice", 34},
    {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, "occurs twice", 28},
    {"{\"__metadata__\":{\"k\":\"a\\u0000\"}}", 0, "U+0000", 26},
    {"{\"a\\nb\\u001b[2J\":1}", 0, "tensor \"a?b?[2J\"", 10},
};

static void check_bad(const char *path, st_status want, const char *what, int64_t at)
{
    st_tensors *f = (st_tensors *)1;
    st_error err = {.position = -7, .message = ""};
    CHECK_STATUS(st_tensors_open(path, &f, &err), want);
    CHECK(f == NULL);
    if (strstr(err.message, what) == NULL || (at >= 0 && err.position != at))
        printf("got \"%s\" at %lld; expected \"%s\" at %lld\n", err.message,
               (long long)err.position, what, (long long)at);
    CHECK(strstr(err.message, what) != NULL);
    CHECK(at >= 0 ? err.position == at : err.position >= 0);
}

static void test_bad_headers(void)
{
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        check_bad(store(bad[i].header, strlen(bad[i].header), bad[i].data_bytes, -1), ST_ERR_FORMAT,
                  bad[i].what, bad[i].at);
}

static void test_bad_lengths(void)
{
    size_t n = 300 << 20;
    const char *path = sample_path("long.safetensors");
    FILE *f;
    sample_store(path, "\x02\0\0", 3);
    check_bad(path, ST_ERR_FORMAT, "ends inside the length", 3);
    sample_store(path, "", 0);
    check_bad(path, ST_ERR_FORMAT, "ends inside the length", 0);
    check_bad(store("{}", 2, 0, 3), ST_ERR_FORMAT, "is to have 3 bytes", 0);
    check_bad(store("{}", 2, 0, INT64_MAX), ST_ERR_FORMAT, "is to have 9223372036854775807", 0);
    sample_store(path, "\xff\xff\xff\xff\xff\xff\xff\xff{}", 10);
    check_bad(path, ST_ERR_FORMAT, "is to have 18446744073709551615", 0);
    f = fopen(path, "wb"); /* a header of 300 MiB, as a hole in the file */
    CHECK(f != NULL && fwrite(&n, 8, 1, f) == 1 && fputc('{', f) == '{');
    CHECK(fclose(f) == 0 && truncate(path, 8 + (off_t)n) == 0);
    check_bad(path, ST_ERR_LIMIT, "has 314572800 bytes, more than 268435456", 0);
    unlink(path);
}

/* Deep nesting costs no stack. */
static void test_deep(void)
{
    size_t n = 1 << 20;
    char *header = malloc(n);
    memset(header, '[', n);
    memcpy(header, "{\"a\":", 5);
    check_bad(store(header, n, 0, -1), ST_ERR_FORMAT, "not JSON", 8 + (int64_t)n);
    free(header);
}

static void test_not_files(void)
{
    st_tensors *f;
    CHECK_STATUS(st_tensors_open(sample_path("absent"), &f, NULL), ST_ERR_IO);
    CHECK_STATUS(st_tensors_open(sample_path(""), &f, NULL), ST_ERR_IO); /* the directory */
    CHECK_STATUS(st_tensors_open("/dev/zero", &f, NULL), ST_ERR_IO);
    CHECK(mkfifo(sample_path("fifo"), 0600) == 0);
    CHECK_STATUS(st_tensors_open(sample_path("fifo"), &f, NULL), ST_ERR_IO);
}

/* ---- what the writer refuses ----------------------------------------------------------------- */

static void test_bad_writes(void)
{
    static const uint8_t d[8];
    static const char *const twice[][2] = {{"k", "1"}, {"k", "2"}}, *const latin[][2] = {
                                                                        {"k", "\xe9"}};
    const st_tensor good = {
        .name = "a", .type = ST_TENSOR_U8, .n_dim = 1, .shape = {8}, .data = d, .bytes = 8};
    const char *path = sample_path("w.safetensors");
    st_tensor t[2] = {good, good};
    CHECK_STATUS(st_tensors_write(path, t, 2, NULL, 0, NULL), ST_ERR_ARG); /* one name twice */
#define REFUSE(change)                                                                             \
    do {                                                                                           \
        t[0] = good;                                                                               \
        change;                                                                                    \
        CHECK_STATUS(st_tensors_write(path, t, 1, NULL, 0, NULL), ST_ERR_ARG);                     \
    } while (0)
    REFUSE(t[0].name = NULL);
    REFUSE(t[0].name = "__metadata__");
    REFUSE(t[0].name = "\xff");
    REFUSE(t[0].type = ST_TENSOR_TYPE_COUNT);
    REFUSE(t[0].n_dim = 9);
    REFUSE(t[0].shape[0] = -8);
    REFUSE(t[0].shape[0] = 9);
    REFUSE((t[0].n_dim = 3, t[0].shape[1] = INT64_MAX, t[0].shape[2] = 2));
    REFUSE(t[0].data = NULL);
#undef REFUSE
    CHECK_STATUS(st_tensors_write(path, &good, 1, twice, 2, NULL), ST_ERR_ARG);
    CHECK_STATUS(st_tensors_write(path, &good, 1, latin, 1, NULL), ST_ERR_ARG);
    CHECK_STATUS(st_tensors_write("", &good, 1, NULL, 0, NULL), ST_ERR_ARG);
    CHECK_STATUS(st_tensors_write(sample_path("no/such/dir"), &good, 1, NULL, 0, NULL), ST_ERR_IO);
    CHECK_STATUS(st_tensors_write(sample_path(""), &good, 1, NULL, 0, NULL), ST_ERR_IO);
    CHECK_STATUS(st_tensors_write("/dev/null", &good, 1, NULL, 0, NULL), ST_ERR_IO);
    CHECK(access("/dev/null", F_OK) == 0 && access(path, F_OK) != 0);
    CHECK(strcmp(st_tensor_type_name((st_tensor_type)99), "?") == 0);
    CHECK(st_tensor_type_bytes(ST_TENSOR_BF16) == 2);
}

int main(void)
{
    test_round_trip();
    test_large();
    test_other_writers();
    test_bad_headers();
    test_bad_lengths();
    test_deep();
    test_not_files();
    test_bad_writes();
    return check_report();
}
