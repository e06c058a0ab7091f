/* SPDX-License-Identifier: MIT
 *
 * state.c — saving and loading a context's layers.
 *
 * A layer is known by its number and by where its cache lies; the second is another in every
 * process, so a loaded layer waits without one until a graph brings it (sti_layers_get).
 */
#include "base/util.h"
#include "ggml/graph.h"
#include "ggml/state.h"

#define LAYER_MAX 65535
#define KV_HEAD_MAX 65535

struct layer_head {
    int64_t layer, windowed, last_lo, last_hi;
    uint64_t n_call;
    int64_t has_keys, n_kv_head, d_k, bk;
};

/* ---- saving ---------------------------------------------------------------------------------- */

static st_status save_layer(sti_layer *l, bool whole, const st_out *out, st_error *err)
{
    struct layer_head h = {.layer = l->layer,
                           .windowed = l->windowed,
                           .last_lo = l->last_lo,
                           .last_hi = l->last_hi,
                           .n_call = l->n_call,
                           .has_keys = l->keys != NULL,
                           .n_kv_head = l->n_kv_head,
                           .d_k = l->d_k,
                           .bk = l->bk};
    STI_TRY(out->write(out->ctx, &h, sizeof h, err));
    if (l->keys == NULL)
        return ST_OK;
    STI_TRY(st_keys_save(l->keys, whole ? 0 : l->n_saved, out, err));
    l->n_saved = st_keys_count(l->keys);
    return ST_OK;
}

st_status sti_state_save(bool whole, const st_out *out, st_error *err)
{
    sti_graph *g = sti_graph_newest();
    if (g == NULL)
        return sti_fail(err, ST_ERR_ARG, -1, "there is no context to save the layers of");
    STI_TRY(out->write(out->ctx, &g->layers.n, sizeof g->layers.n, err));
    for (int64_t i = 0; i < g->layers.n; i++)
        STI_TRY(save_layer(&g->layers.item[i], whole, out, err));
    return ST_OK;
}

/* ---- loading --------------------------------------------------------------------------------- */

static bool head_ok(const struct layer_head *h)
{
    return h->layer >= -1 && h->layer <= LAYER_MAX && (h->windowed & ~1) == 0 &&
           (h->has_keys & ~1) == 0 && h->last_lo >= 0 && h->last_lo <= h->last_hi &&
           h->last_hi <= INT32_MAX &&
           (!h->has_keys || (h->n_kv_head >= 1 && h->n_kv_head <= KV_HEAD_MAX && h->d_k >= 1 &&
                             h->d_k <= 2048 && h->bk >= 1 && h->bk <= 1024));
}

/* A summary of the shape, kept if there is one. What it takes at the least must be in the bytes:
 * no few of them may ask for much memory. */
static st_status need_keys(sti_layer *l, const struct layer_head *h, size_t bytes,
                           const sti_settings *s, st_error *err)
{
    if (l->keys != NULL && l->n_kv_head == h->n_kv_head && l->d_k == h->d_k && l->bk == h->bk)
        return ST_OK;
    if ((int64_t)bytes < h->n_kv_head * h->d_k * 12)
        return sti_fail(err, ST_ERR_FORMAT, 0, "a summary that is cut short");
    return sti_layer_make_keys(l, (int)h->n_kv_head, (int)h->d_k, (int)h->bk, s, err);
}

static st_status load_keys(sti_layer *l, const struct layer_head *h, const uint8_t *data,
                           size_t bytes, size_t *used, st_error *err)
{
    int64_t before = l->keys != NULL ? (int64_t)st_keys_bytes(l->keys) : 0;
    sti_settings s = sti_settings_get();
    st_status status = need_keys(l, h, bytes, &s, err);
    if (status == ST_OK)
        status = st_keys_load(l->keys, data, bytes, used, err);
    sti_stats_keys_bytes((l->keys != NULL ? (int64_t)st_keys_bytes(l->keys) : 0) - before);
    l->n_saved = status == ST_OK ? st_keys_count(l->keys) : 0;
    return status;
}

/* Reads one layer at data; *used: the bytes it had. */
static st_status load_layer(sti_graph *g, const uint8_t *data, size_t bytes, size_t *used,
                            st_error *err)
{
    struct layer_head h;
    sti_layer *l;
    st_status status = ST_OK;
    *used = 0;
    if (bytes < sizeof h)
        return sti_fail(err, ST_ERR_FORMAT, (int64_t)bytes, "a layer that is cut short");
    memcpy(&h, data, sizeof h);
    if (!head_ok(&h))
        return sti_fail(err, ST_ERR_FORMAT, 0, "a layer that makes no sense");
    l = sti_layers_get(&g->layers, (int)h.layer, NULL);
    if (l == NULL)
        return sti_fail_mem(err, sizeof *l);
    l->restored = true;
    l->windowed = h.windowed != 0;
    l->last_lo = (int32_t)h.last_lo;
    l->last_hi = (int32_t)h.last_hi;
    l->n_call = h.n_call;
    if (h.has_keys)
        status = load_keys(l, &h, data + sizeof h, bytes - sizeof h, used, err);
    if (status != ST_OK && err != NULL && err->position >= 0)
        err->position += (int64_t)sizeof h;
    *used += sizeof h;
    return status;
}

st_status sti_state_load(const void *data, size_t bytes, st_error *err)
{
    sti_graph *g = sti_graph_newest();
    int64_t n;
    size_t at = sizeof n, used;
    if (g == NULL)
        return sti_fail(err, ST_ERR_ARG, -1, "there is no context to load layers into");
    if (bytes < sizeof n)
        return sti_fail(err, ST_ERR_FORMAT, (int64_t)bytes, "layers that are cut short");
    memcpy(&n, data, sizeof n);
    for (int64_t i = 0; i < n; i++, at += used) {
        st_status status = load_layer(g, (const uint8_t *)data + at, bytes - at, &used, err);
        if (status != ST_OK && err != NULL && err->position >= 0)
            err->position += (int64_t)at;
        STI_TRY(status);
    }
    if (n < 0 || at != bytes)
        return sti_fail(err, ST_ERR_FORMAT, (int64_t)at, "layers that end elsewhere");
    return ST_OK;
}
