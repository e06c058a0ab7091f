/* SPDX-License-Identifier: MIT
 *
 * weights.c — the file that was named and the file that runs: hashing, and converting quantised
 * weights once into the cache with libllama's own quantiser.
 *
 * Hashes are remembered in <cache>/hashes/, one small file per (device, inode, size, time of
 * change), so that a large model is read for its hash once.
 */
#include <errno.h>
#include <gguf.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sha256.h"
#include "base/util.h"
#include "engine/engine_int.h"

#define CONVERT_MAX_BYTES ((int64_t)4 << 30)

/* sprintf into memory of its own (sti_free); NULL: out of memory */
ST_PRINTF(1, 2) static char *format(const char *fmt, ...)
{
    va_list ap;
    char *text;
    int n;
    va_start(ap, fmt);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    text = n < 0 ? NULL : sti_alloc((size_t)n + 1);
    if (text != NULL) {
        va_start(ap, fmt);
        vsnprintf(text, (size_t)n + 1, fmt, ap);
        va_end(ap);
    }
    return text;
}

static char *cache_dir(const st_model_params *p)
{
    const char *own = getenv("SPARSETRACE_CACHE"), *xdg = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");
    if (p->cache_dir != NULL)
        return format("%s", p->cache_dir);
    if (own != NULL && *own != '\0')
        return format("%s", own);
    if (xdg != NULL && *xdg != '\0')
        return format("%s/sparsetrace", xdg);
    return format("%s/.cache/sparsetrace", home != NULL ? home : ".");
}

/* mkdir -p */
static st_status make_dirs(const char *path, st_error *err)
{
    char *copy = format("%s", path);
    st_status status = ST_OK;
    if (copy == NULL)
        return sti_fail_mem(err, strlen(path));
    for (char *at = copy + 1; status == ST_OK; at++) {
        char c = *at;
        if (c != '/' && c != '\0')
            continue;
        *at = '\0';
        if (mkdir(copy, 0777) != 0 && errno != EEXIST)
            status = sti_fail_io(err, "create directory", copy);
        *at = c;
        if (c == '\0')
            break;
    }
    sti_free(copy);
    return status;
}

/* ---- hash ------------------------------------------------------------------------------------ */

static bool read_hash(const char *path, char hex[65])
{
    FILE *f = fopen(path, "r");
    bool ok;
    if (f == NULL)
        return false;
    ok = fread(hex, 1, 64, f) == 64 && strspn(hex, "0123456789abcdef") >= 64;
    hex[64] = '\0';
    fclose(f);
    return ok;
}

static void remember_hash(const char *path, const char *hex)
{
    FILE *f = fopen(path, "w"); /* only a memory: a failure costs time later, nothing else */
    if (f != NULL) {
        fputs(hex, f);
        fclose(f);
    }
}

static st_status hash_bytes(const char *path, int64_t size, const st_progress *progress,
                            char hex[65], st_error *err)
{
    enum { STEP = 1 << 20 };
    FILE *f = fopen(path, "rb");
    char *buf = sti_alloc(STEP);
    sti_sha256 sha;
    st_status status = ST_OK;
    int64_t done = 0;
    sti_sha256_init(&sha);
    if (f == NULL)
        status = sti_fail_io(err, "read", path);
    else if (buf == NULL)
        status = sti_fail_mem(err, STEP);
    while (status == ST_OK) {
        size_t n = fread(buf, 1, STEP, f);
        if (n == 0)
            break;
        sti_sha256_add(&sha, buf, n);
        done += (int64_t)n;
        if (progress->fn != NULL && !progress->fn(progress->ctx, "hashing the model", done, size))
            status = sti_fail(err, ST_ERR_CANCELLED, -1, "stopped while hashing %s", path);
    }
    if (status == ST_OK && ferror(f))
        status = sti_fail_io(err, "read", path);
    if (f != NULL)
        fclose(f);
    sti_free(buf);
    sti_sha256_hex(&sha, hex);
    return status;
}

static st_status hash_file(const char *path, const struct stat *st, const char *cache,
                           const st_progress *progress, char hex[65], st_error *err)
{
    char *dir = format("%s/hashes", cache);
    char *memo = format("%s/hashes/%llx-%llx-%lld-%lld.%09ld", cache,
                        (unsigned long long)st->st_dev, (unsigned long long)st->st_ino,
                        (long long)st->st_size, (long long)st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
    st_status status = ST_OK;
    if (dir == NULL || memo == NULL) {
        status = sti_fail_mem(err, strlen(cache) + 80);
    } else if (!read_hash(memo, hex)) {
        status = hash_bytes(path, st->st_size, progress, hex, err);
        if (status == ST_OK && make_dirs(dir, NULL) == ST_OK)
            remember_hash(memo, hex);
    }
    sti_free(dir);
    sti_free(memo);
    return status;
}

/* ---- converting ------------------------------------------------------------------------------ */

static st_status check_gguf(const char *path, st_error *err)
{
    char magic[4] = {0};
    FILE *f = fopen(path, "rb");
    size_t n;
    if (f == NULL)
        return sti_fail_io(err, "read", path);
    n = fread(magic, 1, sizeof magic, f);
    fclose(f);
    if (n != sizeof magic || memcmp(magic, "GGUF", sizeof magic) != 0)
        return sti_fail(err, ST_ERR_FORMAT, 0,
                        "%s is not a GGUF file: it does not begin with \"GGUF\"", path);
    return ST_OK;
}

static int64_t elements(const struct gguf_context *gguf, int64_t tensor)
{
    enum ggml_type type = gguf_get_tensor_type(gguf, tensor);
    return (int64_t)(gguf_get_tensor_size(gguf, tensor) / ggml_type_size(type)) *
           ggml_blck_size(type);
}

/* A number of the architecture's, or the largest where every layer has its own; 0: not said. */
static int64_t number(const struct gguf_context *gguf, const char *name)
{
    int64_t key = gguf_find_key(gguf, "general.architecture"), most = 0;
    char full[160];
    if (key < 0 || gguf_get_kv_type(gguf, key) != GGUF_TYPE_STRING)
        return 0;
    snprintf(full, sizeof full, "%.100s.%s", gguf_get_val_str(gguf, key), name);
    key = gguf_find_key(gguf, full);
    if (key < 0)
        return 0;
    if (gguf_get_kv_type(gguf, key) == GGUF_TYPE_UINT32)
        return gguf_get_val_u32(gguf, key);
    if (gguf_get_kv_type(gguf, key) == GGUF_TYPE_ARRAY &&
        (gguf_get_arr_type(gguf, key) == GGUF_TYPE_INT32 ||
         gguf_get_arr_type(gguf, key) == GGUF_TYPE_UINT32))
        for (size_t i = 0; i < gguf_get_arr_n(gguf, key); i++)
            most = sti_max(most, ((const int32_t *)gguf_get_arr_data(gguf, key))[i]);
    return most;
}

/* What libllama does not tell of the model: the most heads of a layer (those of the first may be
 * none), learned positions. */
static void look_at_model(const struct gguf_context *gguf, st_model_info *info)
{
    int64_t positions = gguf_find_tensor(gguf, "position_embd.weight");
    int64_t n_embd = number(gguf, "embedding_length");
    info->n_head = (int)sti_min(number(gguf, "attention.head_count"), INT16_MAX);
    info->n_kv_head = (int)sti_min(number(gguf, "attention.head_count_kv"), INT16_MAX);
    info->n_position = positions >= 0 && n_embd > 0 ? elements(gguf, positions) / n_embd : 0;
}

/* What the file holds, without reading its weights: file type (llama_ftype; -1: not said),
 * parameters. */
static st_status look(const char *path, int *ftype, int64_t *n_params, st_model_info *info,
                      st_error *err)
{
    struct gguf_init_params gp = {.no_alloc = true};
    struct gguf_context *gguf = gguf_init_from_file(path, gp);
    int64_t key;
    *ftype = -1;
    *n_params = 0;
    if (gguf == NULL)
        return sti_fail(err, ST_ERR_FORMAT, -1, "%s is not a sound GGUF file: %s", path,
                        sti_llama_error("its header cannot be read"));
    key = gguf_find_key(gguf, "general.file_type");
    if (key >= 0 && gguf_get_kv_type(gguf, key) == GGUF_TYPE_UINT32)
        *ftype = (int)gguf_get_val_u32(gguf, key);
    for (int64_t i = 0; i < gguf_get_n_tensors(gguf); i++)
        *n_params += elements(gguf, i);
    look_at_model(gguf, info);
    gguf_free(gguf);
    return ST_OK;
}

static bool wants_conversion(st_weights weights, int ftype, int64_t n_params)
{
    bool is_float = ftype < 0 || ftype == LLAMA_FTYPE_ALL_F32 || ftype == LLAMA_FTYPE_MOSTLY_F16 ||
                    ftype == LLAMA_FTYPE_MOSTLY_BF16;
    if (weights == ST_WEIGHTS_F32)
        return ftype != LLAMA_FTYPE_ALL_F32;
    return weights == ST_WEIGHTS_BF16 && !is_float && n_params * 2 <= CONVERT_MAX_BYTES;
}

/* Converts into `to` by way of a file of its own name, so that half a file is never taken for a
 * whole. */
static st_status convert(const char *from, const char *to, st_weights weights, int n_thread,
                         const st_progress *progress, st_error *err)
{
    llama_model_quantize_params qp = llama_model_quantize_default_params();
    char *part = format("%s.%d.part", to, (int)getpid());
    st_status status = ST_OK;
    if (part == NULL)
        return sti_fail_mem(err, strlen(to) + 20);
    qp.ftype = weights == ST_WEIGHTS_F32 ? LLAMA_FTYPE_ALL_F32 : LLAMA_FTYPE_MOSTLY_BF16;
    qp.allow_requantize = true;
    qp.nthread = n_thread;
    if (progress->fn != NULL && !progress->fn(progress->ctx, "converting weights (once)", 0, 0))
        status = sti_fail(err, ST_ERR_CANCELLED, -1, "stopped before converting %s", from);
    else if (llama_model_quantize(from, part, &qp) != 0)
        status = sti_fail(err, ST_ERR_MODEL, -1, "libllama cannot convert %s: %s", from,
                          sti_llama_error("is the disk full?"));
    else if (progress->fn != NULL &&
             !progress->fn(progress->ctx, "converting weights (once)", 1, 1))
        status = sti_fail(err, ST_ERR_CANCELLED, -1, "stopped while converting %s", from);
    else if (rename(part, to) != 0)
        status = sti_fail_io(err, "write", to);
    if (status != ST_OK)
        unlink(part);
    sti_free(part);
    return status;
}

/* Whoever reads "cannot create directory" must learn which directory that is, and the ways around
 * it. */
static void explain_cache(const char *cache, st_error *err)
{
    st_error why;
    if (err == NULL)
        return;
    why = *err;
    sti_fail(err, why.status, why.position,
             "%.280s (converting weights into the cache %.120s: SPARSETRACE_CACHE moves it, "
             "--weights as-is does without)",
             why.message, cache);
}

st_status sti_prepare_weights(const char *path, const st_model_params *p, st_model_info *info,
                              char **run_path, st_error *err)
{
    struct stat st = {.st_size = 0};
    char *cache = cache_dir(p), *dir = NULL, *copy = NULL;
    int ftype = -1;
    int64_t n_params = 0;
    st_status status = ST_OK;
    *run_path = NULL;
    if (cache == NULL)
        status = sti_fail_mem(err, strlen(path));
    else if (stat(path, &st) != 0)
        status = sti_fail_io(err, "read", path);
    else if (!S_ISREG(st.st_mode))
        status = sti_fail(err, ST_ERR_IO, -1, "cannot read %s: not a regular file", path);
    else
        status = check_gguf(path, err);
    if (status == ST_OK)
        status = hash_file(path, &st, cache, &p->progress, info->sha256, err);
    if (status == ST_OK)
        status = look(path, &ftype, &n_params, info, err);
    if (status == ST_OK && wants_conversion(p->weights, ftype, n_params)) {
        dir = format("%s/weights", cache);
        copy = format("%s/weights/%.32s-%s.gguf", cache, info->sha256,
                      p->weights == ST_WEIGHTS_F32 ? "f32" : "bf16");
        info->converted = true;
        status =
            dir != NULL && copy != NULL ? make_dirs(dir, err) : sti_fail_mem(err, strlen(cache));
        if (status == ST_OK && access(copy, R_OK) != 0)
            status = convert(path, copy, p->weights, p->n_thread, &p->progress, err);
        if (status == ST_ERR_IO || status == ST_ERR_MODEL)
            explain_cache(cache, err);
    }
    info->file_bytes = st.st_size;
    if (status == ST_OK) {
        *run_path = copy != NULL ? copy : format("%s", path);
        copy = NULL;
    }
    sti_free(cache);
    sti_free(dir);
    sti_free(copy);
    return status;
}
