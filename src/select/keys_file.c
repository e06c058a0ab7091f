/* SPDX-License-Identifier: MIT
 *
 * keys_file.c — a summary of keys as bytes, and back.
 *
 * A summary only grows: its vectors and nodes are never changed once they are there, and how many
 * there are follows from the number of keys alone. So a save holds the part that is new, the few
 * numbers that do change (weights, the nodes that wait for their right neighbour), and nothing
 * that can be computed from the rest. The reader believes no count: the length of the bytes has to
 * be the one that the number of keys means.
 */
#include "base/util.h"
#include "select/keys.h"

#define MAGIC 0x315359454b5453 /* "STKEYS1" */

struct head {
    int64_t magic, n_kv_head, d, bk;
    int64_t from, n_key; /* keys (from, n_key] are in here */
    int64_t scan, lean;
};

/* ---- what a number of keys means ------------------------------------------------------------- */

static int64_t leaves(int64_t n_key, int bk)
{
    return sti_max(n_key / bk - 1, 0);
}

static int64_t quantised(int64_t n_key, int bk)
{
    return n_key >= 2 * (int64_t)bk ? n_key : 0;
}

static bool waits(int64_t n_leaf, int level)
{
    return (n_leaf >> level & 1) != 0;
}

/* Bytes of a save after its head; from <= n_key <= INT32_MAX: no overflow. */
static int64_t body_bytes(const st_keys *s, int64_t from, int64_t n_key)
{
    int64_t vector = s->dp + (int64_t)sizeof(float);
    int64_t node = 4 * vector + 8; /* and variance, exemplar */
    int64_t old = leaves(from, s->bk), new = leaves(n_key, s->bk), bytes;
    bytes = s->d * (int64_t)(sizeof(float) + sizeof(double)) + (int64_t)sizeof(int64_t);
    bytes += s->lean ? 0 : (quantised(n_key, s->bk) - quantised(from, s->bk)) * vector;
    for (int l = 0; l < STI_LEVEL_MAX; l++) {
        bytes += ((new >> l) - (old >> l)) * node;
        bytes += waits(new, l) ? 4 * s->d * (int64_t)sizeof(float) + (int64_t)sizeof(int64_t) : 0;
    }
    return bytes * s->n_kv_head;
}

/* ---- saving ---------------------------------------------------------------------------------- */

static st_status put(const st_out *out, const void *data, int64_t bytes, st_error *err)
{
    return bytes > 0 ? out->write(out->ctx, data, (size_t)bytes, err) : ST_OK;
}

/* Vectors [from, to), without their sums. */
static st_status put_vectors(const st_out *out, const sti_vectors *x, int64_t from, int64_t to,
                             int dp, st_error *err)
{
    if (from == to)
        return ST_OK;
    STI_TRY(put(out, x->v + from * dp, (to - from) * dp, err));
    return put(out, x->scale + from, (to - from) * (int64_t)sizeof *x->scale, err);
}

static st_status put_level(const st_out *out, const sti_level *l, int64_t from, int64_t to, int dp,
                           st_error *err)
{
    STI_TRY(put_vectors(out, &l->mean, from, to, dp, err));
    STI_TRY(put_vectors(out, &l->mid, from, to, dp, err));
    STI_TRY(put_vectors(out, &l->half, from, to, dp, err));
    STI_TRY(put_vectors(out, &l->exemplar_key, from, to, dp, err));
    STI_TRY(put(out, l->var + from, (to - from) * (int64_t)sizeof *l->var, err));
    return put(out, l->exemplar + from, (to - from) * (int64_t)sizeof *l->exemplar, err);
}

static st_status put_head(const st_out *out, const st_keys *s, const sti_key_head *x, int64_t from,
                          st_error *err)
{
    int64_t old = leaves(from, s->bk);
    STI_TRY(put(out, x->centre, s->d * (int64_t)sizeof *x->centre, err));
    STI_TRY(put(out, x->w_sum, s->d * (int64_t)sizeof *x->w_sum, err));
    STI_TRY(put(out, &x->w_count, sizeof x->w_count, err));
    if (!s->lean)
        STI_TRY(put_vectors(out, &x->key, quantised(from, s->bk), s->n_int8, s->dp, err));
    for (int l = 0; l < STI_LEVEL_MAX; l++) {
        const sti_node *node = &x->pending[l];
        if (s->n_leaf >> l > old >> l)
            STI_TRY(put_level(out, &x->level[l], old >> l, s->n_leaf >> l, s->dp, err));
        if (!waits(s->n_leaf, l))
            continue;
        STI_TRY(put(out, node->mean, 4 * s->d * (int64_t)sizeof *node->mean, err));
        STI_TRY(put(out, &node->exemplar, sizeof node->exemplar, err));
    }
    return ST_OK;
}

st_status st_keys_save(const st_keys *s, int64_t from, const st_out *out, st_error *err)
{
    struct head h = {MAGIC, s->n_kv_head, s->d, s->bk, from, s->n_key, s->scan, s->lean};
    if (from < 0 || from > s->n_key)
        return sti_fail(err, ST_ERR_ARG, -1, "from is %lld, the summary has %lld keys",
                        (long long)from, (long long)s->n_key);
    STI_TRY(put(out, &h, sizeof h, err));
    for (int i = 0; i < s->n_kv_head; i++)
        STI_TRY(put_head(out, s, &s->head[i], from, err));
    return ST_OK;
}

/* ---- loading --------------------------------------------------------------------------------- */

struct in {
    const uint8_t *data;
    size_t at; /* the length was checked before: nothing is read beyond it */
};

static void take(struct in *in, void *to, int64_t bytes)
{
    memcpy(to, in->data + in->at, (size_t)bytes);
    in->at += (size_t)bytes;
}

static bool room_for(sti_vectors *x, int64_t n, int dp)
{
    return sti_grow((void **)&x->v, &x->cap_v, n, (size_t)dp) &&
           sti_grow((void **)&x->scale, &x->cap_scale, n, sizeof *x->scale) &&
           sti_grow((void **)&x->sum, &x->cap_sum, n, sizeof *x->sum);
}

/* What the kernels rely on: no -128, nothing in the padding. Counts the sum. */
static bool vector_ok(const int8_t *v, int d, int dp, int32_t *sum)
{
    int32_t total = 0;
    bool ok = true;
    for (int c = 0; c < d; c++) {
        total += v[c];
        ok = ok && v[c] != INT8_MIN;
    }
    for (int c = d; c < dp; c++)
        ok = ok && v[c] == 0;
    *sum = total;
    return ok;
}

static st_status take_vectors(struct in *in, const st_keys *s, sti_vectors *x, int64_t from,
                              int64_t to, st_error *err)
{
    size_t at = in->at;
    if (from == to)
        return ST_OK;
    if (!room_for(x, to, s->dp))
        return sti_fail_mem(err, (size_t)to * (size_t)(s->dp + 8));
    take(in, x->v + from * s->dp, (to - from) * s->dp);
    take(in, x->scale + from, (to - from) * (int64_t)sizeof *x->scale);
    for (int64_t i = from; i < to; i++)
        if (!vector_ok(x->v + i * s->dp, s->d, s->dp, &x->sum[i]))
            return sti_fail(err, ST_ERR_FORMAT, (int64_t)at + (i - from) * s->dp,
                            "a key that no key is rounded to");
    return ST_OK;
}

/* An exemplar lies within its node: node i of a level covers leaves [i << l, (i + 1) << l). */
static bool exemplar_ok(const st_keys *s, int level, int64_t i, int64_t key)
{
    return key >= ((i << level) + 1) * s->bk && key < (((i + 1) << level) + 1) * s->bk;
}

static st_status take_level(struct in *in, const st_keys *s, sti_level *x, int level, int64_t from,
                            int64_t to, st_error *err)
{
    if (!sti_grow((void **)&x->var, &x->cap_var, to, sizeof *x->var) ||
        !sti_grow((void **)&x->exemplar, &x->cap_exemplar, to, sizeof *x->exemplar))
        return sti_fail_mem(err, (size_t)to * sizeof *x->exemplar);
    STI_TRY(take_vectors(in, s, &x->mean, from, to, err));
    STI_TRY(take_vectors(in, s, &x->mid, from, to, err));
    STI_TRY(take_vectors(in, s, &x->half, from, to, err));
    STI_TRY(take_vectors(in, s, &x->exemplar_key, from, to, err));
    take(in, x->var + from, (to - from) * (int64_t)sizeof *x->var);
    take(in, x->exemplar + from, (to - from) * (int64_t)sizeof *x->exemplar);
    for (int64_t i = from; i < to; i++)
        if (!exemplar_ok(s, level, i, x->exemplar[i]))
            return sti_fail(err, ST_ERR_FORMAT, (int64_t)in->at - (to - i) * 4,
                            "an exemplar that is not of its node");
    x->n = to;
    return ST_OK;
}

static st_status take_pending(struct in *in, const st_keys *s, sti_node *x, int level,
                              int64_t n_leaf, st_error *err)
{
    x->filled = waits(n_leaf, level);
    if (!x->filled)
        return ST_OK;
    if (x->mean == NULL) {
        x->mean = sti_alloc((size_t)s->d * 4 * sizeof *x->mean);
        if (x->mean == NULL)
            return sti_fail_mem(err, (size_t)s->d * 4 * sizeof *x->mean);
        x->var = x->mean + s->d;
        x->min = x->var + s->d;
        x->max = x->min + s->d;
    }
    take(in, x->mean, 4 * s->d * (int64_t)sizeof *x->mean);
    take(in, &x->exemplar, sizeof x->exemplar);
    if (!exemplar_ok(s, level, (n_leaf >> level) - 1, x->exemplar))
        return sti_fail(err, ST_ERR_FORMAT, (int64_t)in->at - 8,
                        "an exemplar that is not of its node");
    return ST_OK;
}

static st_status take_head(struct in *in, st_keys *s, sti_key_head *x, const struct head *h,
                           st_error *err)
{
    int64_t old = leaves(h->from, s->bk), new = leaves(h->n_key, s->bk);
    take(in, x->centre, s->d * (int64_t)sizeof *x->centre);
    take(in, x->w_sum, s->d * (int64_t)sizeof *x->w_sum);
    take(in, &x->w_count, sizeof x->w_count);
    if (x->w_count < 0)
        return sti_fail(err, ST_ERR_FORMAT, (int64_t)in->at - 8, "a negative count of rows");
    if (!s->lean)
        STI_TRY(take_vectors(in, s, &x->key, quantised(h->from, s->bk), quantised(h->n_key, s->bk),
                             err));
    for (int l = 0; l < STI_LEVEL_MAX; l++) {
        if (new >> l > old >> l)
            STI_TRY(take_level(in, s, &x->level[l], l, old >> l, new >> l, err));
        STI_TRY(take_pending(in, s, &x->pending[l], l, new, err));
    }
    return ST_OK;
}

/* The head agrees with the summary and with the number of bytes. */
static st_status check_head(st_keys *s, const struct head *h, size_t bytes, st_error *err)
{
    if (h->magic != MAGIC)
        return sti_fail(err, ST_ERR_FORMAT, 0, "not a summary of keys");
    if (h->n_kv_head != s->n_kv_head || h->d != s->d || h->bk != s->bk || h->lean != s->lean)
        return sti_fail(err, ST_ERR_FORMAT, 8,
                        "a summary of %lld KV heads, d %lld, bk %lld%s; not %d, %d, %d%s",
                        (long long)h->n_kv_head, (long long)h->d, (long long)h->bk,
                        h->lean ? ", lean" : "", s->n_kv_head, s->d, s->bk,
                        s->lean ? ", lean" : "");
    if (h->from < 0 || h->n_key < h->from || h->n_key > INT32_MAX || (h->scan & ~1) != 0)
        return sti_fail(err, ST_ERR_FORMAT, 32, "counts that make no sense");
    if (body_bytes(s, h->from, h->n_key) > (int64_t)(bytes - sizeof *h))
        return sti_fail(err, ST_ERR_FORMAT, (int64_t)bytes, "a summary that is cut short");
    st_keys_truncate(s, h->from);
    if (s->n_key != h->from)
        return sti_fail(err, ST_ERR_FORMAT, 32, "keys from %lld on, but %lld are here",
                        (long long)h->from, (long long)s->n_key);
    return ST_OK;
}

static st_status take_all(st_keys *s, struct in *in, size_t bytes, st_error *err)
{
    struct head h;
    if (bytes < sizeof h)
        return sti_fail(err, ST_ERR_FORMAT, (int64_t)bytes, "a summary that is cut short");
    take(in, &h, sizeof h);
    STI_TRY(check_head(s, &h, bytes, err));
    for (int i = 0; i < s->n_kv_head; i++)
        STI_TRY(take_head(in, s, &s->head[i], &h, err));
    s->n_key = h.n_key;
    s->n_int8 = quantised(h.n_key, s->bk);
    s->n_leaf = leaves(h.n_key, s->bk);
    s->scan = h.scan != 0;
    return ST_OK;
}

st_status st_keys_load(st_keys *s, const void *data, size_t bytes, size_t *used, st_error *err)
{
    struct in in = {.data = data, .at = 0};
    st_status status = take_all(s, &in, bytes, err);
    if (status != ST_OK) { /* half of it may have been taken in: all of it goes */
        s->n_key = sti_max(s->n_key, 1);
        st_keys_truncate(s, 0);
    }
    *used = status == ST_OK ? in.at : 0;
    return status;
}
