/* SPDX-License-Identifier: MIT
 *
 * test_validate.c — the corpus of bad traces. Each is a good trace with one thing wrong: a number
 * of a tensor, a piece of the header, or its length. Each must be refused with a named error at the
 * byte at fault, by st_trace_open or else by st_trace_validate; and every query on it must stay
 * inside it.
 */
#include "../unit/check.h"
#include "sample_trace.h"

static char *good; /* the good trace */
static size_t good_bytes;

/* Opens and validates; the first error counts. */
static st_status try_trace(const char *path, st_error *err)
{
    st_trace *t;
    st_status status = st_trace_open(path, &t, err);
    if (status != ST_OK)
        return status;
    (void)sample_use(t);
    status = st_trace_validate(t, err);
    st_trace_free(t);
    return status;
}

/* at: the byte that the error must name; -1: any of the file. */
static void check_bad(const char *data, size_t bytes, st_status want, const char *what, int64_t at)
{
    const char *path = sample_path("bad.safetensors");
    st_error err = {.position = -7, .message = "no error"};
    bool ok;
    sample_store(path, data, bytes);
    CHECK_STATUS(try_trace(path, &err), want);
    ok = strstr(err.message, what) != NULL && (at >= 0 ? err.position == at : err.position >= 0) &&
         err.position <= (int64_t)bytes;
    if (!ok)
        printf("got \"%s\" at %lld; expected \"%s\" at %lld\n", err.message,
               (long long)err.position, what, (long long)at);
    CHECK(ok);
}

/* ---- one number wrong ------------------------------------------------------------------------ */

#define NAN32 0x7fc00000
#define INF32 0x7f800000

static const struct {
    const char *tensor;
    int64_t elem, value; /* the bits */
    const char *what;
    int64_t at; /* the element that the error must name; -1: not an element */
} number[] = {
    {"layer.0.indptr", 0, 1, "layer.0.indptr[0] is 1, not 0", 0},
    {"layer.0.indptr", 0, -1, "layer.0.indptr[0] is -1, not 0", 0},
    {"layer.1.indptr", 3, 0, "less than the", 3},
    {"layer.1.indptr", 3, INT64_MIN, "less than the", 3},
    {"layer.1.indptr", 3, INT64_MAX, "less than the 9223372036854775807", 4},
    {"layer.3.indptr", 7, 1, "less than the", 7},
    {"layer.3.indptr", 7, 100000, "ends at 100000, there are", 7},
    {"layer.0.indices", 0, -1, "layer.0.indices[0] is -1, must be 0..12", 0},
    {"layer.0.indices", 2, 13, "layer.0.indices[2] is 13, must be 0..12", 2},
    {"layer.0.indices", 2, INT32_MAX, "must be 0..12", 2},
    {"layer.1.indices", 3, 0, "not above the", 3},
    {"layer.0.mass", 1, 0x7e00, "layer.0.mass[1] is nan, must be 0..1", 1},
    {"layer.0.mass", 1, 0x7c00, "is inf, must be 0..1", 1},
    {"layer.0.mass", 1, 0xb800, "is -0.5, must be 0..1", 1},
    {"layer.0.mass", 1, 0x8000, "is -0, must be 0..1", 1},
    {"layer.0.mass", 5, 0x3c01, "must be 0..1", 5},
    {"layer.1.lse", 60, NAN32, "layer.1.lse[1, 10] is nan", 60},
    {"layer.1.lse", 60, INF32, "layer.1.lse[1, 10] is inf", 60},
    {"layer.1.head", 0, -1, "layer.1.head[0] is -1", 0},
    {"layer.1.head", 2, 3, "layer.1.head[2] is 3, must be 0..2", 2},
    {"layer.1.head", 1, 0, "not above the 0", 1},
    {"piece_ptr", 0, 1, "piece_ptr[0] is 1, not 0", 0},
    {"piece_ptr", 7, 2, "piece_ptr[7] is 2, less than", 7},
    {"piece_ptr", 50, 1000000, "piece_ptr ends at 1000000", 50},
    {"piece_ptr", 20, INT64_MAX, "less than the", 21},
    {"layer.0.cert_rows", 0, -1, "layer.0.cert_rows[0] is -1", 0},
    {"layer.0.cert_rows", 2, 50, "must rise and be 0..49", 2},
    {"layer.0.cert_rows", 2, 1, "must rise", 2},
    {"layer.1.cert_recall", 2, NAN32, "layer.1.cert_recall[0, 2] is nan", 2},
    {"layer.1.cert_recall", 2, 0x3f800001, "must be 0..1", 2},
    {"layer.1.cert_recall", 2, 0x3f000000, "recall_mean does not agree with its samples", -1},
    {"layer.1.cert_err", 3, (int64_t)0xbf000000, "is -0.5, must be 0", 3},
    {"layer.1.cert_err", 3, INF32, "is inf, must be 0", 3},
    {"layer.1.cert_err", 3, 0x40000000, "err_mean does not agree with its samples", -1},
};

static void test_numbers(void)
{
    const char *path = sample_path("good.safetensors");
    st_tensors *f;
    CHECK_STATUS(st_tensors_open(path, &f, NULL), ST_OK);
    for (size_t i = 0; i < sizeof number / sizeof *number && f != NULL; i++) {
        const st_tensor *t = st_tensors_find(f, number[i].tensor);
        size_t size = st_tensor_type_bytes(t->type);
        char *bad = malloc(good_bytes);
        memcpy(bad, good, good_bytes);
        memcpy(bad + t->offset + number[i].elem * (int64_t)size, &number[i].value, size);
        check_bad(bad, good_bytes, ST_ERR_FORMAT, number[i].what,
                  number[i].at < 0 ? -1 : t->offset + number[i].at * (int64_t)size);
        free(bad);
    }
    st_tensors_free(f);
}

/* ---- one piece of the header wrong ----------------------------------------------------------- */

#define Q "\\\"" /* a quote inside a metadata document */

static const struct {
    const char *from, *to;
    const char *what;
} text[] = {
    {"\"format\":\"sparsetrace.trace\"", "\"format\":\"pt\"", "not a trace"},
    {"\"format\":\"sparsetrace.trace\",", "", "not a trace"},
    {"\"format_version\":\"1\",", "", "\"format_version\" is missing"},
    {"\"format_version\":\"1\"", "\"format_version\":\"one\"", "is \"one\", not a whole number"},
    {"\"geometry\":", "\"geometri\":", "\"geometry\" is missing"},
    {"\"geometry\":\"{", "\"geometry\":\"{,", "\"geometry\" is not JSON"},
    {"\"geometry\":\"{", "\"geometry\":\"[]\",\"x\":\"{", "\"geometry\" is not an object"},
    {Q "n_tok" Q ":50", Q "n_tok" Q ":0", "n_tok is not a whole number 1..2147483647"},
    {Q "n_tok" Q ":50", Q "n_tok" Q ":-50", "n_tok is not a whole number"},
    {Q "n_tok" Q ":50", Q "n_tok" Q ":50.5", "n_tok is not a whole number"},
    {Q "n_tok" Q ":50", Q "n_tok" Q ":1e300", "n_tok is not a whole number"},
    {Q "n_tok" Q ":50", Q "n_tok" Q ":2147483648", "n_tok is not a whole number"},
    {Q "n_tok" Q ":50", Q "n_tok" Q ":49", "row_end is not a whole number 0..49"},
    {Q "n_tok" Q ":50,", "", "n_tok is not a whole number"},
    {Q "n_tok_run" Q ":50", Q "n_tok_run" Q ":49", "n_tok_run is not a whole number 50.."},
    {Q "bq" Q ":8", Q "bq" Q ":0", "bq is not a whole number"},
    {Q "bq" Q ":8", Q "bq" Q ":7", "layer.0.indptr has shape [15], not [17]"},
    {Q "bk" Q ":4", Q "bk" Q ":5", "must be 0..9"},
    {Q "bk" Q ":4", Q "bk" Q ":99999999999999999999", "bk is not a whole number"},
    {Q "complete" Q ":true", Q "complete" Q ":1", "complete is not true or false"},
    {Q "row_begin" Q ":0", Q "row_begin" Q ":51", "row_begin is not a whole number 0..50"},
    {Q "row_begin" Q ":0", Q "row_begin" Q ":16", "query block 0 has entries, but is not recorded"},
    {Q "row_end" Q ":50", Q "row_end" Q ":51", "row_end is not a whole number 0..50"},
    {Q "row_end" Q ":50", Q "row_end" Q ":0", "query block 0 has entries, but is not recorded"},
    {Q "mass_floor" Q ":0.0", Q "mass_floor" Q ":2", "mass_floor is not a number 0..1"},
    {Q "mass_floor" Q ":0.0", Q "mass_floor" Q ":0.02", "below the mass_floor 0.02"},
    {Q "layers" Q ":[", Q "layers" Q ":7,\\\"x\\\":[", "layers is not a list"},
    {Q "layer" Q ":1,", Q "layer" Q ":0,", "layer is not a whole number 1..65535"},
    {Q "layer" Q ":3,", Q "layer" Q ":4,", "tensor layer.4.head is missing"},
    {Q "layer" Q ":3,", Q "layer" Q ":70000,", "layer is not a whole number"},
    {Q "n_head" Q ":2", Q "n_head" Q ":1", "layer.0.head lists 2 heads of 1"},
    {Q "n_head" Q ":2", Q "n_head" Q ":3", "layer.0.cert_recall has shape [2, 7], not [3, 7]"},
    {Q "kind" Q ":" Q "exact", Q "kind" Q ":" Q "dense", "kind of layer 3 is not"},
    {Q "recorded" Q ":true", Q "recorded" Q ":null", "recorded is not true or false"},
    {Q "kept_pairs" Q ":", Q "kept_pairs" Q ":9", "kept_pairs is not a whole number 0..2550"},
    {Q "visible_pairs" Q ":2550", Q "visible_pairs" Q ":9223372036854775807", "pairs overflow"},
    {"\"certificate\":", "\"certificat\":", "\"certificate\" is missing"},
    {Q "n_row" Q ":7", Q "n_row" Q ":8", "n_layer, n_head or n_row does not agree"},
    {Q "recall_mean" Q ":0.", Q "recall_mean" Q ":0.1", "recall_mean does not agree"},
    {Q "recall_mean" Q ":0.", Q "recall_mean" Q ":1.", "recall_mean is not a number 0..1"},
    {Q "recall_ci95" Q ":[0.", Q "recall_ci95" Q ":[0.1", "recall_ci95 does not agree"},
    {Q "recall_ci95" Q ":[", Q "recall_ci95" Q ":[" Q "a" Q ",", "recall_ci95 is not a number"},
    {Q "recall_p5" Q ":0.", Q "recall_p5" Q ":0.01", "recall_p5 does not agree"},
    {Q "recall_worst" Q ":0.", Q "recall_worst" Q ":0.01", "recall_worst does not agree"},
    {Q "worst_head" Q ":", Q "worst_head" Q ":1", "worst_layer or worst_head does not agree"},
    {Q "err_mean" Q ":0.", Q "err_mean" Q ":0.1", "err_mean does not agree"},
    {"\"recipe\":\"{", "\"recipe\":\"{{", "\"recipe\" is not JSON"},
    {"\"layer.0.mass\"", "\"layer.0.mess\"", "tensor layer.0.mass is missing"},
    {"\"layer.1.indptr\"", "\"layer.1.Indptr\"", "tensor layer.1.indptr is missing"},
    {"\"layer.1.indices\"", "\"layer.1\"", "tensor layer.1.indices is missing"},
    {"\"layer.1.cert_rows\"", "\"layer.1.certrows\"", "tensor layer.1.cert_rows is missing"},
    {"\"layer.1.cert_err\"", "\"layer.1.cert\"", "tensor layer.1.cert_err is missing"},
    {"\"text\"", "\"test\"", "tensor text is missing"},
    {"\"piece_ptr\"", "\"pieceptr\"", "tensor piece_ptr is missing"},
    {"\"tokens\":{\"dtype\":\"I32\"", "\"tokens\":{\"dtype\":\"U32\"",
     "tokens has type U32, not I32"},
    {"\"layer.0.head\":{\"dtype\":\"I32\"", "\"layer.0.head\":{\"dtype\":\"F32\"", "not I32"},
    {"\"layer.0.indptr\":{\"dtype\":\"I64\"", "\"layer.0.indptr\":{\"dtype\":\"U64\"", "not I64"},
    {"\"layer.0.mass\":{\"dtype\":\"F16\"", "\"layer.0.mass\":{\"dtype\":\"BF16\"", "not F16"},
    {"\"shape\":[2,50]", "\"shape\":[50,2]", "layer.0.lse has shape [50, 2], not [2, 50]"},
    {"\"shape\":[2,50]", "\"shape\":[100]", "layer.0.lse has 1 indices, not 2"},
    {"\"shape\":[50]", "\"shape\":[5,10]", "tokens has 2 indices, not 1"},
};

/* The good trace with the first `from` of its header replaced by `to`. */
static char *edit_header(const char *from, const char *to, size_t *bytes)
{
    char *at = strstr(good + 8, from), *bad;
    uint64_t n;
    size_t before, cut = strlen(from), put = strlen(to);
    memcpy(&n, good, 8);
    if (at == NULL || at >= good + 8 + n) {
        printf("the header has no %s\n", from);
        CHECK(at != NULL);
        return NULL;
    }
    before = (size_t)(at - good);
    *bytes = good_bytes - cut + put;
    bad = malloc(*bytes);
    memcpy(bad, good, before);
    memcpy(bad + before, to, put);
    memcpy(bad + before + put, at + cut, good_bytes - before - cut);
    n = n - cut + put;
    memcpy(bad, &n, 8);
    return bad;
}

static void test_headers(void)
{
    for (size_t i = 0; i < sizeof text / sizeof *text; i++) {
        size_t bytes;
        char *bad = edit_header(text[i].from, text[i].to, &bytes);
        if (bad != NULL)
            check_bad(bad, bytes, ST_ERR_FORMAT, text[i].what, -1);
        free(bad);
    }
}

/* A newer version is not a broken file. */
static void test_newer_version(void)
{
    size_t bytes;
    char *bad = edit_header("\"format_version\":\"1\"", "\"format_version\":\"2\"", &bytes);
    check_bad(bad, bytes, ST_ERR_LIMIT, "format version 2, this program knows up to 1", -1);
    free(bad);
}

/* ---- truncated ------------------------------------------------------------------------------- */

static void test_truncated(void)
{
    for (size_t n = 0; n < good_bytes; n++) {
        st_error err = {.position = -7};
        st_trace *t;
        sample_store(sample_path("bad.safetensors"), good, n);
        CHECK_STATUS(st_trace_open(sample_path("bad.safetensors"), &t, &err), ST_ERR_FORMAT);
        CHECK(err.position >= 0 && err.position <= (int64_t)n);
    }
}

/* ---- what is new is ignored ------------------------------------------------------------------ */

static void test_additions(void)
{
    static const char *const edit[][2] = {
        {"\"format\":", "\"colour\":\"blue, not JSON\",\"format\":"},
        {Q "bq" Q ":8", Q "bq" Q ":8," Q "bv" Q ":[1,2]"},
        {Q "n_head" Q ":2", Q "n_head" Q ":2," Q "d_head" Q ":64"},
        {"\"tokens\":",
         "\"zz\":{\"dtype\":\"F64\",\"shape\":[0],\"data_offsets\":[0,0]},\"tokens\":"},
    };
    for (size_t i = 0; i < sizeof edit / sizeof *edit; i++) {
        const char *path = sample_path("added.safetensors");
        size_t bytes;
        st_error err = {.message = ""};
        char *new = edit_header(edit[i][0], edit[i][1], &bytes);
        sample_store(path, new, bytes);
        CHECK_STATUS(try_trace(path, &err), ST_OK);
        if (*err.message)
            printf("%s\n", err.message);
        free(new);
    }
}

int main(void)
{
    sample s = sample_default();
    st_trace_options opt = {.lse = true};
    const char *path = sample_path("good.safetensors");
    st_error err;
    CHECK_STATUS(sample_write(&s, path, &opt, NULL), ST_OK);
    CHECK_STATUS(try_trace(path, &err), ST_OK);
    good = sample_load(path, &good_bytes);
    test_numbers();
    test_headers();
    test_newer_version();
    test_truncated();
    test_additions();
    free(good);
    return check_report();
}
