/* SPDX-License-Identifier: MIT
 *
 * validate.c — proves what opening took on trust: every number of every array. docs/trace-format.md
 * marks what is proved here as "checked". Each error stands at the byte of the first number that is
 * wrong.
 */
#include <float.h>
#include <math.h>

#include "trace/trace_int.h"

/* Byte of element i of a tensor in the file. */
static int64_t byte_of(const st_tensor *t, int64_t i)
{
    return t->offset + i * (int64_t)st_tensor_type_bytes(t->type);
}

#define BAD(tensor, i, ...) sti_fail_at(err, ST_ERR_FORMAT, byte_of(tensor, i), __VA_ARGS__)

/* ---- tensors --------------------------------------------------------------------------------- */

/* A row pointer: from 0, never falling, up to `end`. */
static st_status check_pointers(const st_tensor *t, int64_t end, st_error *err)
{
    const int64_t *p = t->data;
    int64_t n = t->shape[0];
    if (p[0] != 0)
        return BAD(t, 0, "%s[0] is %lld, not 0", t->name, (long long)p[0]);
    for (int64_t i = 1; i < n; i++)
        if (p[i] < p[i - 1])
            return BAD(t, i, "%s[%lld] is %lld, less than the %lld before it", t->name,
                       (long long)i, (long long)p[i], (long long)p[i - 1]);
    if (p[n - 1] != end)
        return BAD(t, n - 1, "%s ends at %lld, there are %lld entries", t->name,
                   (long long)p[n - 1], (long long)end);
    return ST_OK;
}

/* Entries [begin, end): strictly rising, 0 <= x < limit. */
static st_status check_rising(const st_tensor *t, int64_t begin, int64_t end, int64_t limit,
                              st_error *err)
{
    const int32_t *x = t->data;
    for (int64_t i = begin; i < end; i++) {
        if (x[i] < 0 || x[i] >= limit)
            return BAD(t, i, "%s[%lld] is %d, must be 0..%lld", t->name, (long long)i, x[i],
                       (long long)limit - 1);
        if (i > begin && x[i] <= x[i - 1])
            return BAD(t, i, "%s[%lld] is %d, not above the %d before it", t->name, (long long)i,
                       x[i], x[i - 1]);
    }
    return ST_OK;
}

static st_status check_rows(const st_trace *t, const sti_layer *l, st_error *err)
{
    const int64_t *indptr = l->pub.indptr;
    for (int64_t r = 0; r < l->pub.n_head * t->info.nbq; r++) {
        int64_t blk = r % t->info.nbq;
        if (indptr[r + 1] > indptr[r] && (blk < t->blk_begin || blk >= t->blk_end))
            return BAD(l->indptr, r + 1, "%s: query block %lld has entries, but is not recorded",
                       l->indptr->name, (long long)blk);
        STI_TRY(check_rising(l->indices, indptr[r], indptr[r + 1], t->info.nbk, err));
    }
    return ST_OK;
}

static st_status check_mass(const st_trace *t, const sti_layer *l, st_error *err)
{
    for (int64_t i = 0; i < l->pub.nnz; i++) {
        uint16_t m = l->pub.mass[i];
        if (m > STI_F16_ONE)
            return BAD(l->mass, i, "%s[%lld] is %g, must be 0..1", l->mass->name, (long long)i,
                       (double)sti_f16_f32(m));
        if (t->info.mass_floor > 0 && sti_f16_f32(m) < t->info.mass_floor)
            return BAD(l->mass, i, "%s[%lld] is %g, below the mass_floor %g", l->mass->name,
                       (long long)i, (double)sti_f16_f32(m), (double)t->info.mass_floor);
    }
    return ST_OK;
}

/* Every number is within lo..hi and not NaN. */
static st_status check_floats(const st_tensor *t, double lo, double hi, st_error *err)
{
    const float *x = t->data;
    int64_t n = t->shape[0] * t->shape[1];
    for (int64_t i = 0; i < n; i++)
        if (!((double)x[i] >= lo && (double)x[i] <= hi))
            return BAD(t, i, "%s[%lld, %lld] is %g, must be %g..%g", t->name,
                       (long long)(i / t->shape[1]), (long long)(i % t->shape[1]), (double)x[i], lo,
                       hi);
    return ST_OK;
}

/* The matrices from group to group: CSR with values above 0. */
static st_status check_group_rows(const st_trace *t, const sti_layer *l, st_error *err)
{
    const int64_t *indptr = l->pub.group_indptr;
    STI_TRY(check_pointers(l->group_indptr, l->pub.group_nnz, err));
    for (int64_t r = 0; r < l->pub.n_head * t->info.n_group; r++)
        STI_TRY(check_rising(l->group_indices, indptr[r], indptr[r + 1], t->info.n_group, err));
    for (int64_t i = 0; i < l->pub.group_nnz; i++)
        if (!(l->pub.group_mean[i] > 0 && l->pub.group_mean[i] <= 1))
            return BAD(l->group_mean, i, "%s[%lld] is %g, must be above 0 and at most 1",
                       l->group_mean->name, (long long)i, (double)l->pub.group_mean[i]);
    return ST_OK;
}

static st_status check_groups(const st_trace *t, st_error *err)
{
    st_error why;
    if (st_groups_check(t->groups->data, t->info.n_group, t->info.n_tok, &why) == ST_OK)
        return ST_OK;
    return BAD(t->groups, 2 * why.position, "%s", why.message);
}

static st_status check_selection(const st_trace *t, const sti_layer *l, st_error *err)
{
    STI_TRY(check_rising(l->head, 0, l->pub.n_head, l->n_head, err));
    STI_TRY(check_pointers(l->indptr, l->pub.nnz, err));
    STI_TRY(check_rows(t, l, err));
    STI_TRY(check_mass(t, l, err));
    if (l->group_indptr != NULL)
        STI_TRY(check_group_rows(t, l, err));
    if (l->value != NULL)
        STI_TRY(check_floats(l->value, 0, FLT_MAX, err));
    return l->lse == NULL ? ST_OK : check_floats(l->lse, -INFINITY, FLT_MAX, err);
}

static st_status check_samples(const st_trace *t, const sti_layer *l, st_error *err)
{
    const int64_t *row = l->cert_rows->data;
    for (int64_t i = 0; i < l->cert_rows->shape[0]; i++)
        if (row[i] < 0 || row[i] >= t->info.n_tok || (i > 0 && row[i] <= row[i - 1]))
            return BAD(l->cert_rows, i, "%s[%lld] is %lld: must rise and be 0..%lld",
                       l->cert_rows->name, (long long)i, (long long)row[i],
                       (long long)t->info.n_tok - 1);
    STI_TRY(check_floats(l->cert_recall, 0, 1, err));
    return check_floats(l->cert_err, 0, FLT_MAX, err);
}

/* ---- documents ------------------------------------------------------------------------------- */

static bool close_to(double a, double b)
{
    return fabs(a - b) <= 1e-6 * fmax(1, fabs(b));
}

static st_status compute_certificate(const st_trace *t, st_certificate *c, st_error *err)
{
    st_cert_samples *s = sti_alloc((size_t)t->n_layer * sizeof *s);
    st_status status;
    int64_t n = 0;
    if (s == NULL)
        return sti_fail_mem(err, (size_t)t->n_layer * sizeof *s);
    for (int64_t i = 0; i < t->n_layer; i++) {
        const sti_layer *l = &t->layer[i];
        if (l->cert_rows != NULL)
            s[n++] = (st_cert_samples){l->pub.layer, l->n_head, l->cert_rows->shape[0],
                                       l->cert_recall->data, l->cert_err->data};
    }
    status = st_certificate_compute(s, n, c, err);
    sti_free(s);
    return status;
}

/* Whether the head that the certificate calls the worst is as bad as the worst one (there may be
 * several). */
static bool names_worst(const st_trace *t, const st_certificate *said, double worst)
{
    for (int64_t i = 0; i < t->n_layer; i++) {
        const sti_layer *l = &t->layer[i];
        const float *recall;
        double sum = 0;
        if (l->pub.layer != said->worst_layer || l->cert_rows == NULL ||
            said->worst_head >= l->n_head)
            continue;
        recall = (const float *)l->cert_recall->data + said->worst_head * l->cert_recall->shape[1];
        for (int64_t r = 0; r < l->cert_recall->shape[1]; r++)
            sum += (double)recall[r];
        return close_to(sum / (double)l->cert_recall->shape[1], worst);
    }
    return false;
}

static st_status check_certificate(const st_trace *t, st_error *err)
{
    const st_certificate *said = &t->info.cert;
    st_certificate is;
    const char *wrong = NULL;
    STI_TRY(compute_certificate(t, &is, err));
    if (said->n_layer != is.n_layer || said->n_head != is.n_head || said->n_row != is.n_row)
        wrong = "n_layer, n_head or n_row";
    else if (!close_to(said->recall_mean, is.recall_mean))
        wrong = "recall_mean";
    else if (!close_to(said->recall_ci95[0], is.recall_ci95[0]) ||
             !close_to(said->recall_ci95[1], is.recall_ci95[1]))
        wrong = "recall_ci95";
    else if (!close_to(said->recall_p5, is.recall_p5))
        wrong = "recall_p5";
    else if (!close_to(said->recall_worst, is.recall_worst))
        wrong = "recall_worst";
    else if (!names_worst(t, said, is.recall_worst))
        wrong = "worst_layer or worst_head";
    else if (!close_to(said->err_mean, is.err_mean))
        wrong = "err_mean";
    if (wrong == NULL)
        return ST_OK;
    return sti_fail_at(err, ST_ERR_FORMAT, sti_tensors_meta_position(t->file, "certificate"),
                       "the certificate's %s does not agree with its samples", wrong);
}

static st_status check_documents(const st_trace *t, st_error *err)
{
    static const char *const key[] = {"recipe", "result", "timings"};
    for (size_t i = 0; i < sizeof key / sizeof *key; i++) {
        const char *text = st_tensors_meta(t->file, key[i]);
        const char *why;
        int64_t at;
        st_status status = text == NULL ? ST_OK : sti_json_check(text, &at, &why);
        if (status == ST_ERR_MEM)
            return sti_fail_mem(err, strlen(text));
        if (status != ST_OK)
            return sti_fail_at(err, ST_ERR_FORMAT, sti_tensors_meta_position(t->file, key[i]),
                               "metadata \"%s\" is not JSON: %s at its byte %lld", key[i], why,
                               (long long)at);
    }
    return ST_OK;
}

st_status st_trace_validate(const st_trace *t, st_error *err)
{
    if (t->groups != NULL)
        STI_TRY(check_groups(t, err));
    for (int64_t i = 0; i < t->n_layer; i++) {
        const sti_layer *l = &t->layer[i];
        if (l->recorded)
            STI_TRY(check_selection(t, l, err));
        if (l->cert_rows != NULL)
            STI_TRY(check_samples(t, l, err));
    }
    if (t->text != NULL)
        STI_TRY(check_pointers(t->piece_ptr, t->text->shape[0], err));
    if (t->info.has_cert)
        STI_TRY(check_certificate(t, err));
    return check_documents(t, err);
}
