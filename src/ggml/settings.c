/* SPDX-License-Identifier: MIT
 *
 * settings.c — one configuration, one set of counters, one last error, behind one lock.
 */
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "base/util.h"
#include "ggml/settings.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static sti_settings settings;
static bool configured;
static st_ggml_stats stats;
static st_error last_error;
static int heads[4096]; /* of the layers whose attention ran */

st_ggml_params st_ggml_params_default(void)
{
    return (st_ggml_params){
        .enabled = true, .linear = true, .select = st_select_params_default(), .cert_rows = 32};
}

st_status st_ggml_configure(const st_ggml_params *p, const st_sink *sink, st_error *err)
{
    STI_TRY(st_select_params_check(&p->select, err));
    if (p->cert_rows < 0 || p->cert_rows > 1 << 20 || p->n_tok < 0 || p->exact_below < 0)
        return sti_fail(err, ST_ERR_ARG, -1,
                        "cert_rows is %d, n_tok %lld, exact_below %lld; none may be negative, "
                        "cert_rows at most %d",
                        p->cert_rows, (long long)p->n_tok, (long long)p->exact_below, 1 << 20);
    STI_TRY(st_groups_check(p->group, p->n_group, INT32_MAX, err));
    STI_TRY(st_groups_check(p->row, p->n_row, INT32_MAX, err));
    pthread_mutex_lock(&lock);
    settings.p = *p;
    settings.sink = sink != NULL ? *sink : (st_sink){0};
    memset(heads, 0, sizeof heads);
    configured = true;
    pthread_mutex_unlock(&lock);
    return ST_OK;
}

sti_settings sti_settings_get(void)
{
    sti_settings s;
    pthread_mutex_lock(&lock);
    if (!configured)
        settings.p = st_ggml_params_default();
    configured = true;
    s = settings;
    pthread_mutex_unlock(&lock);
    return s;
}

void sti_stats_add(const st_ggml_stats *d)
{
    pthread_mutex_lock(&lock);
    stats.mask_ns += d->mask_ns;
    stats.keys_ns += d->keys_ns;
    stats.select_ns += d->select_ns;
    stats.attend_ns += d->attend_ns;
    stats.certify_ns += d->certify_ns;
    stats.sink_ns += d->sink_ns;
    stats.linear_ns += d->linear_ns;
    stats.n_sparse += d->n_sparse;
    stats.n_exact += d->n_exact;
    stats.n_linear += d->n_linear;
    stats.n_rebuilt += d->n_rebuilt;
    stats.n_scanned += d->n_scanned;
    stats.attend_flop += d->attend_flop;
    pthread_mutex_unlock(&lock);
}

void sti_stats_keys_bytes(int64_t delta)
{
    pthread_mutex_lock(&lock);
    stats.keys_bytes += delta;
    pthread_mutex_unlock(&lock);
}

void st_ggml_take_stats(st_ggml_stats *out)
{
    pthread_mutex_lock(&lock);
    *out = stats;
    stats = (st_ggml_stats){.keys_bytes = out->keys_bytes};
    pthread_mutex_unlock(&lock);
}

void sti_note_error(const st_error *err)
{
    pthread_mutex_lock(&lock);
    last_error = *err;
    pthread_mutex_unlock(&lock);
}

st_status st_ggml_take_error(st_error *err)
{
    st_status status;
    pthread_mutex_lock(&lock);
    status = last_error.status;
    if (status != ST_OK && err != NULL)
        *err = last_error;
    last_error.status = ST_OK;
    pthread_mutex_unlock(&lock);
    return status;
}

void sti_note_heads(int layer, int n_head)
{
    pthread_mutex_lock(&lock);
    if (layer >= 0 && layer < (int)(sizeof heads / sizeof *heads))
        heads[layer] = n_head;
    pthread_mutex_unlock(&lock);
}

int st_ggml_heads(int layer)
{
    int n;
    pthread_mutex_lock(&lock);
    n = layer >= 0 && layer < (int)(sizeof heads / sizeof *heads) ? heads[layer] : 0;
    pthread_mutex_unlock(&lock);
    return n;
}

int64_t sti_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}
