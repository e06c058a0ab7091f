/* SPDX-License-Identifier: MIT
 *
 * journal_read.c — reading the journal back. One walk checks every record, by checksum and by
 * content, up to the first bad one, and notes where each layer's chunks stand (8 bytes a chunk
 * stay). What is handed out lies in the map.
 */
#include <math.h>
#include <stdlib.h>

#include "base/checksum.h"
#include "trace/journal.h"
#include "trace/journal_layout.h"
#include "trace/tensors_int.h"

#define FORGET_BYTES                                                                               \
    ((int64_t)16 << 20) /* of the map that are held at most while all of it is read */
#define F16_ONE 0x3c00  /* non-negative halves order as their bits do */

/* ---- checks of one record's content ---------------------------------------------------------- */

void sti_chunk_sizes(const sti_chunk_head *h, size_t bytes[STI_CHUNK_ARRAYS])
{
    bytes[0] = (size_t)(h->n_rec * h->nbq + 1) * sizeof(int64_t);     /* indptr */
    bytes[1] = (size_t)h->n_cert * sizeof(int64_t);                   /* cert_rows */
    bytes[2] = (size_t)(h->n_rec * h->n_group + 1) * sizeof(int64_t); /* group_indptr */
    bytes[3] = (size_t)h->n_rec * sizeof(int32_t);                    /* head */
    bytes[4] = (size_t)h->nnz * sizeof(int32_t);                      /* indices */
    bytes[5] = (size_t)h->group_nnz * sizeof(int32_t);                /* group_indices */
    bytes[6] = (size_t)h->group_nnz * sizeof(float);                  /* group_sum */
    bytes[7] = (size_t)(h->n_rec * h->n_lse) * sizeof(float);         /* lse */
    bytes[8] = (size_t)(h->n_head * h->n_cert) * sizeof(float);       /* cert_recall */
    bytes[9] = bytes[8];                                              /* cert_err */
    bytes[10] = (size_t)(h->n_rec * h->n_value) * sizeof(float);      /* value */
    bytes[11] = (size_t)h->nnz * sizeof(uint16_t);                    /* mass */
}

static bool within(int64_t x, int64_t lo, int64_t hi)
{
    return x >= lo && x <= hi;
}

static bool head_ok(const sti_chunk_head *h, const sti_begin *b, const st_group *group,
                    int64_t payload_bytes)
{
    int64_t end, first, n_group;
    if (!within(h->first_query, 0, b->n_tok - 1) || !within(h->n_q, 1, b->n_tok - h->first_query))
        return false;
    end = h->first_query + h->n_q;
    n_group = st_groups_touched(group, b->n_group, h->first_query, end, &first);
    if (h->n_rec > 0 ? h->n_group != n_group || (n_group > 0 && h->first_group != first)
                     : h->n_group != 0)
        return false;
    if (h->n_value != 0 &&
        (h->n_rec == 0 || end != b->n_tok || h->n_value != sti_ceil_div(b->n_tok, b->bk)))
        return false;
    return within(h->layer, 0, STI_LAYER_MAX) && within(h->kind, 0, ST_CHUNK_EXACT) &&
           within(h->n_head, 1, STI_HEAD_MAX) && within(h->n_rec, 0, h->n_head) &&
           within(h->first_blk, h->first_query / b->bq, STI_N_TOK_MAX) &&
           within(h->nbq, 0, (end - 1) / b->bq + 1 - h->first_blk) &&
           (h->nbq == 0 || (h->first_blk * b->bq >= b->row_begin &&
                            (h->first_blk + h->nbq - 1) * b->bq < b->row_end)) &&
           within(h->nnz, 0, payload_bytes) && within(h->n_cert, 0, h->n_q) &&
           within(h->first_lse, h->first_query, end) && within(h->n_lse, 0, end - h->first_lse) &&
           within(h->kept_pairs, 0, h->visible_pairs) && within(h->group_nnz, 0, payload_bytes) &&
           (h->n_rec > 0 || (h->nbq == 0 && h->nnz == 0 && h->n_lse == 0 && h->group_nnz == 0));
}

/* A chunk of a record whose head is already sound. */
static sti_chunk view_chunk(const uint8_t *payload)
{
    sti_chunk c;
    size_t bytes[STI_CHUNK_ARRAYS];
    const uint8_t *at[STI_CHUNK_ARRAYS];
    memcpy(&c.h, payload, sizeof c.h);
    sti_chunk_sizes(&c.h, bytes);
    payload += sizeof c.h;
    for (int i = 0; i < STI_CHUNK_ARRAYS; i++) {
        at[i] = payload;
        payload += bytes[i];
    }
    c.indptr = (const int64_t *)at[0];
    c.cert_rows = (const int64_t *)at[1];
    c.group_indptr = (const int64_t *)at[2];
    c.head = (const int32_t *)at[3];
    c.indices = (const int32_t *)at[4];
    c.group_indices = (const int32_t *)at[5];
    c.group_sum = (const float *)at[6];
    c.lse = (const float *)at[7];
    c.cert_recall = (const float *)at[8];
    c.cert_err = (const float *)at[9];
    c.value = (const float *)at[10];
    c.mass = (const uint16_t *)at[11];
    return c;
}

static bool rising_ok(const int32_t *x, int64_t n, int64_t end)
{
    for (int64_t i = 0; i < n; i++)
        if (!within(x[i], i == 0 ? 0 : x[i - 1] + (int64_t)1, end - 1))
            return false;
    return true;
}

static bool rows_ok(const sti_chunk *c, int64_t nbk)
{
    int64_t n_row = c->h.n_rec * c->h.nbq;
    if (c->indptr[0] != 0 || c->indptr[n_row] != c->h.nnz)
        return false;
    for (int64_t r = 0; r < n_row; r++)
        if (!within(c->indptr[r + 1], c->indptr[r], c->h.nnz) ||
            !rising_ok(c->indices + c->indptr[r], c->indptr[r + 1] - c->indptr[r], nbk))
            return false;
    for (int64_t i = 0; i < c->h.nnz; i++)
        if (c->mass[i] > F16_ONE)
            return false;
    for (int64_t i = 0; i < c->h.n_rec * c->h.n_lse; i++)
        if (!(c->lse[i] < INFINITY))
            return false;
    return true;
}

static bool groups_ok(const sti_chunk *c, int64_t n_group)
{
    int64_t n_row = c->h.n_rec * c->h.n_group;
    if (c->group_indptr[0] != 0 || c->group_indptr[n_row] != c->h.group_nnz)
        return false;
    for (int64_t r = 0; r < n_row; r++)
        if (!within(c->group_indptr[r + 1], c->group_indptr[r], c->h.group_nnz) ||
            !rising_ok(c->group_indices + c->group_indptr[r],
                       c->group_indptr[r + 1] - c->group_indptr[r], n_group))
            return false;
    for (int64_t i = 0; i < c->h.group_nnz; i++)
        if (!(c->group_sum[i] >= 0 && c->group_sum[i] < INFINITY))
            return false;
    return true;
}

static bool value_ok(const sti_chunk *c)
{
    for (int64_t i = 0; i < c->h.n_rec * c->h.n_value; i++)
        if (!(c->value[i] >= 0 && c->value[i] < INFINITY))
            return false;
    return true;
}

static bool cert_ok(const sti_chunk *c)
{
    int64_t next = c->h.first_query;
    for (int64_t i = 0; i < c->h.n_cert; i++) {
        if (!within(c->cert_rows[i], next, c->h.first_query + c->h.n_q - 1))
            return false;
        next = c->cert_rows[i] + 1;
    }
    for (int64_t i = 0; i < c->h.n_head * c->h.n_cert; i++)
        if (!(c->cert_recall[i] >= 0 && c->cert_recall[i] <= 1) ||
            !(c->cert_err[i] >= 0 && c->cert_err[i] < INFINITY))
            return false;
    return true;
}

static bool chunk_ok(const sti_begin *b, const st_group *group, const uint8_t *payload,
                     int64_t bytes)
{
    sti_chunk_head h;
    sti_chunk c;
    size_t size[STI_CHUNK_ARRAYS], sum = sizeof h;
    if (bytes < (int64_t)sizeof h)
        return false;
    memcpy(&h, payload, sizeof h);
    if (!head_ok(&h, b, group, bytes))
        return false;
    sti_chunk_sizes(&h, size);
    for (int i = 0; i < STI_CHUNK_ARRAYS; i++)
        sum += size[i];
    if (sti_round_up((int64_t)sum, 8) != bytes)
        return false;
    c = view_chunk(payload);
    return rising_ok(c.head, h.n_rec, h.n_head) && rows_ok(&c, sti_ceil_div(b->n_tok, b->bk)) &&
           groups_ok(&c, b->n_group) && value_ok(&c) && cert_ok(&c);
}

static bool begin_ok(const sti_begin *b)
{
    return within(b->n_tok, 1, STI_N_TOK_MAX) && within(b->bq, 1, STI_BLOCK_MAX) &&
           within(b->bk, 1, STI_BLOCK_MAX) && within(b->row_begin, 0, b->n_tok - 1) &&
           within(b->row_end, b->row_begin + 1, b->n_tok) && b->row_begin % b->bq == 0 &&
           (b->row_end % b->bq == 0 || b->row_end == b->n_tok) && within(b->lse, 0, 1) &&
           b->mass_floor >= 0 && b->mass_floor <= 1 && within(b->n_group, 0, b->n_tok);
}

bool sti_document_key_ok(const char *key)
{
    static const char *const own[] = {"format", "format_version", "writer", "geometry",
                                      "certificate"};
    size_t n = strlen(key);
    if (n < 1 || n > 64 || strspn(key, "abcdefghijklmnopqrstuvwxyz0123456789_-.") != n)
        return false;
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (strcmp(key, own[i]) == 0)
            return false;
    return true;
}

/* ---- taking records in ----------------------------------------------------------------------- */

static bool take_tokens(sti_journal *j, const uint8_t *payload, int64_t bytes)
{
    sti_tokens_head h;
    int64_t n = j->begin.n_tok, ptr_bytes, at = (int64_t)sizeof h;
    const int64_t *ptr;
    if (bytes < at || j->token != NULL)
        return false;
    memcpy(&h, payload, sizeof h);
    ptr_bytes = h.text_bytes >= 0 ? (n + 1) * 8 : 0;
    if (h.n_tok != n || !within(h.text_bytes, -1, bytes) ||
        sti_round_up(at + ptr_bytes + n * 4 + sti_max(h.text_bytes, 0), 8) != bytes)
        return false;
    if (h.text_bytes >= 0) {
        ptr = (const int64_t *)(payload + at);
        if (ptr[0] != 0 || ptr[n] != h.text_bytes)
            return false;
        for (int64_t i = 0; i < n; i++)
            if (ptr[i + 1] < ptr[i])
                return false;
        j->piece_ptr = ptr;
        j->text = (const char *)payload + at + ptr_bytes + n * 4;
    }
    j->token = (const int32_t *)(payload + at + ptr_bytes);
    return true;
}

static st_status put_document(sti_journal *j, const char *key, const char *json, int64_t *cap,
                              st_error *err)
{
    int64_t i = 0;
    while (i < j->n_json && strcmp(j->json[i][0], key) != 0)
        i++;
    if (i == j->n_json) {
        if (!sti_grow((void **)&j->json, cap, i + 1, sizeof *j->json))
            return sti_fail_mem(err, (size_t)(i + 1) * sizeof *j->json);
        j->n_json++;
    }
    j->json[i][0] = key;
    j->json[i][1] = json;
    return ST_OK;
}

static bool document_ok(const uint8_t *payload, int64_t bytes, const char **key, const char **json)
{
    const char *why;
    int64_t n[2], at;
    if (bytes < (int64_t)sizeof n)
        return false;
    memcpy(n, payload, sizeof n);
    if (!within(n[0], 1, bytes) || !within(n[1], 1, bytes) ||
        sti_round_up((int64_t)sizeof n + n[0] + n[1] + 2, 8) != bytes)
        return false;
    *key = (const char *)payload + sizeof n;
    *json = *key + n[0] + 1;
    return memchr(*key, 0, (size_t)n[0] + 1) == *key + n[0] &&
           memchr(*json, 0, (size_t)n[1] + 1) == *json + n[1] && sti_document_key_ok(*key) &&
           sti_json_check(*json, &at, &why) == ST_OK;
}

/* What is known of a layer so far. */
struct seen {
    int64_t n_chunk, row_end, n_head, n_rec;
    const int32_t *head;
};

/* Where a chunk stands. */
struct place {
    int64_t layer, at;
};

struct seen_layers {
    struct seen *layer; /* [n] by layer number */
    int64_t n;
    struct place *chunk; /* [n_chunk] in the order of the journal */
    int64_t n_chunk, cap;
    int64_t pairs; /* of all: a number, so any part of them is one */
};

/* Takes a sound chunk in; *good: it goes with the layer's earlier ones. */
static st_status take_chunk(struct seen_layers *seen, sti_chunk c, int64_t at, bool *good,
                            st_error *err)
{
    int64_t old = seen->n;
    struct seen *s;
    if (!sti_grow((void **)&seen->layer, &seen->n, c.h.layer + 1, sizeof *s) ||
        !sti_grow((void **)&seen->chunk, &seen->cap, seen->n_chunk + 1, sizeof *seen->chunk))
        return sti_fail_mem(err, (size_t)seen->n_chunk * sizeof *seen->chunk);
    memset(seen->layer + old, 0, (size_t)(seen->n - old) * sizeof *s);
    s = &seen->layer[c.h.layer];
    if (s->n_chunk == 0)
        *s = (struct seen){.n_head = c.h.n_head, .n_rec = c.h.n_rec, .head = c.head};
    *good = c.h.first_query >= s->row_end && c.h.n_head == s->n_head && c.h.n_rec == s->n_rec &&
            memcmp(c.head, s->head, (size_t)c.h.n_rec * sizeof *c.head) == 0 &&
            !__builtin_add_overflow(seen->pairs, c.h.visible_pairs, &seen->pairs);
    if (*good) {
        s->n_chunk++;
        s->row_end = c.h.first_query + c.h.n_q;
        seen->chunk[seen->n_chunk++] = (struct place){c.h.layer, at};
    }
    return ST_OK;
}

/* The record at `at`, if all of it is there and its checksum agrees. */
static bool whole_record(const sti_journal *j, int64_t at, struct record_head *r)
{
    const uint8_t *p = j->map.data + at;
    if (j->map.bytes - at < (int64_t)sizeof *r)
        return false;
    memcpy(r, p, sizeof *r);
    return r->magic == RECORD_MAGIC && r->zero == 0 && r->bytes % 8 == 0 &&
           r->bytes <= (uint64_t)(j->map.bytes - at) - sizeof *r &&
           sti_crc32(sti_crc32(0, p + RECORD_CHECKED_FROM, RECORD_CHECKED_BYTES), p + sizeof *r,
                     (size_t)r->bytes) == r->crc;
}

/* Up to the first bad record. */
static st_status check_records(sti_journal *j, struct seen_layers *seen, st_error *err)
{
    struct record_head r;
    const char *key, *json;
    int64_t cap = 0, forgotten = 0;
    bool good = true;
    while (good && whole_record(j, j->valid_bytes, &r)) {
        const uint8_t *payload = j->map.data + j->valid_bytes + sizeof r;
        int64_t bytes = (int64_t)r.bytes;
        if (r.kind == STI_RECORD_CHUNK) {
            good = chunk_ok(&j->begin, j->group, payload, bytes);
            if (good)
                STI_TRY(take_chunk(seen, view_chunk(payload), payload - j->map.data, &good, err));
        } else if (r.kind == STI_RECORD_TOKENS) {
            good = take_tokens(j, payload, bytes);
        } else {
            good = r.kind == STI_RECORD_JSON && document_ok(payload, bytes, &key, &json);
            if (good)
                STI_TRY(put_document(j, key, json, &cap, err));
        }
        if (good) {
            j->valid_bytes += (int64_t)sizeof r + bytes;
            j->check = sti_crc32(j->check, &r.crc, sizeof r.crc);
        }
        if (j->valid_bytes - forgotten > FORGET_BYTES) {
            sti_map_forget(&j->map);
            forgotten = j->valid_bytes;
        }
    }
    return ST_OK;
}

/* Sorts the chunks by layer. */
static st_status index_chunks(sti_journal *j, struct seen_layers *seen, st_error *err)
{
    for (int64_t l = 0; l < seen->n; l++)
        j->n_layer += seen->layer[l].n_chunk > 0;
    j->layer = sti_calloc((size_t)j->n_layer * sizeof *j->layer);
    j->chunk = sti_calloc((size_t)seen->n_chunk * sizeof *j->chunk);
    if (j->layer == NULL || j->chunk == NULL)
        return sti_fail_mem(err, (size_t)seen->n_chunk * sizeof *j->chunk);
    for (int64_t l = 0, at = 0, i = 0; l < seen->n; l++) {
        struct seen *s = &seen->layer[l];
        if (s->n_chunk == 0)
            continue;
        j->layer[i++] = (sti_journal_layer){.layer = (int)l,
                                            .n_head = s->n_head,
                                            .n_rec = s->n_rec,
                                            .head = s->head,
                                            .n_chunk = s->n_chunk,
                                            .chunk = j->chunk + at,
                                            .row_end = s->row_end};
        at += s->n_chunk;
        s->n_chunk = at - s->n_chunk; /* from here on: the place of its next chunk */
    }
    for (int64_t i = 0; i < seen->n_chunk; i++)
        j->chunk[seen->layer[seen->chunk[i].layer].n_chunk++] = seen->chunk[i].at;
    return ST_OK;
}

/* The head and the begin record. */
static st_status read_begin(sti_journal *j, struct journal_head *head, st_error *err)
{
    struct record_head r;
    if (j->map.bytes < (int64_t)sizeof *head)
        return sti_fail_at(err, ST_ERR_FORMAT, j->map.bytes, "the journal ends inside its head");
    memcpy(head, j->map.data, sizeof *head);
    if (memcmp(head->magic, JOURNAL_MAGIC, 6) != 0)
        return sti_fail_at(err, ST_ERR_FORMAT, 0, "not the journal (.part) of a trace");
    if (memcmp(head->magic, JOURNAL_MAGIC, 8) != 0)
        return sti_fail_at(err, ST_ERR_LIMIT, 6, "the journal is of another version");
    if (!whole_record(j, sizeof *head, &r) || r.kind != STI_RECORD_BEGIN ||
        r.bytes < sizeof j->begin)
        return sti_fail_at(err, ST_ERR_FORMAT, sizeof *head, "the journal's first record is torn");
    memcpy(&j->begin, j->map.data + sizeof *head + sizeof r, sizeof j->begin);
    j->group = (const st_group *)(j->map.data + sizeof *head + sizeof r + sizeof j->begin);
    if (!begin_ok(&j->begin) ||
        r.bytes != sizeof j->begin + (size_t)j->begin.n_group * sizeof *j->group ||
        st_groups_check(j->group, j->begin.n_group, j->begin.n_tok, NULL) != ST_OK)
        return sti_fail_at(err, ST_ERR_FORMAT, sizeof *head + sizeof r,
                           "the journal's first record makes no sense");
    j->valid_bytes = (int64_t)(sizeof *head + sizeof r + r.bytes);
    j->check = sti_crc32(0, &r.crc, sizeof r.crc);
    return ST_OK;
}

st_status sti_journal_open(sti_mapping map, sti_journal *j, st_error *err)
{
    struct journal_head head;
    struct seen_layers seen = {.n = 0};
    st_status status;
    *j = (sti_journal){.map = map};
    status = read_begin(j, &head, err);
    if (status == ST_OK) {
        status = check_records(j, &seen, err);
        if (status == ST_OK)
            status = index_chunks(j, &seen, err);
        j->sealed = head.sealed_bytes == (uint64_t)j->valid_bytes;
    }
    sti_free(seen.layer);
    sti_free(seen.chunk);
    if (status != ST_OK)
        sti_journal_free(j);
    return status;
}

void sti_journal_free(sti_journal *j)
{
    sti_unmap(&j->map);
    sti_free(j->layer);
    sti_free(j->chunk);
    sti_free(j->json);
    j->layer = NULL;
    j->chunk = NULL;
    j->json = NULL;
}

/* ---- using it -------------------------------------------------------------------------------- */

sti_chunk sti_journal_chunk(const sti_journal *j, int64_t at)
{
    return view_chunk(j->map.data + at);
}

void sti_journal_cut(sti_journal *j, int64_t n_tok)
{
    int64_t n = 0;
    for (int64_t i = 0; i < j->n_layer; i++) {
        sti_journal_layer l = j->layer[i];
        for (l.row_end = 0; l.n_chunk > 0; l.n_chunk--) {
            sti_chunk c = sti_journal_chunk(j, l.chunk[l.n_chunk - 1]);
            if (c.h.first_query + c.h.n_q > n_tok)
                continue;
            l.row_end = c.h.first_query + c.h.n_q;
            break;
        }
        if (l.n_chunk > 0)
            j->layer[n++] = l;
    }
    j->n_layer = n;
}

static void gather_layer(const sti_journal *j, const sti_journal_layer *l, st_cert_samples *s,
                         int64_t *rows, float *recall, float *err_rel)
{
    int64_t at = 0;
    for (int64_t i = 0; i < l->n_chunk; i++) {
        sti_chunk c = sti_journal_chunk(j, l->chunk[i]);
        size_t bytes = (size_t)c.h.n_cert * sizeof(float);
        for (int64_t h = 0; h < c.h.n_head && bytes > 0; h++) {
            memcpy(recall + h * s->n_row + at, c.cert_recall + h * c.h.n_cert, bytes);
            memcpy(err_rel + h * s->n_row + at, c.cert_err + h * c.h.n_cert, bytes);
        }
        memcpy(rows + at, c.cert_rows, (size_t)c.h.n_cert * sizeof *rows);
        at += c.h.n_cert;
    }
    s->recall = recall;
    s->err = err_rel;
}

st_status sti_journal_samples(const sti_journal *j, sti_samples *s, st_error *err)
{
    int64_t n_row = 0, n_value = 0, *rows;
    float *value;
    *s = (sti_samples){.layer = sti_calloc((size_t)j->n_layer * sizeof *s->layer),
                       .rows = sti_calloc((size_t)j->n_layer * sizeof *s->rows)};
    for (int64_t i = 0; i < j->n_layer && s->layer != NULL; i++) {
        int64_t n = 0;
        for (int64_t c = 0; c < j->layer[i].n_chunk; c++)
            n += sti_journal_chunk(j, j->layer[i].chunk[c]).h.n_cert;
        sti_map_forget(&j->map);
        s->layer[i] = (st_cert_samples){j->layer[i].layer, j->layer[i].n_head, n, NULL, NULL};
        n_row += n;
        n_value += n * j->layer[i].n_head;
    }
    s->memory = sti_alloc((size_t)n_row * 8 + (size_t)n_value * 8);
    if (s->layer == NULL || s->rows == NULL || s->memory == NULL) {
        sti_samples_free(s);
        return sti_fail_mem(err, (size_t)n_row * 8 + (size_t)n_value * 8);
    }
    rows = s->memory;
    value = (float *)(rows + n_row);
    for (int64_t i = 0; i < j->n_layer; i++) {
        st_cert_samples l = s->layer[i];
        int64_t n = l.n_head * l.n_row;
        if (n == 0)
            continue;
        gather_layer(j, &j->layer[i], &l, rows, value, value + n);
        sti_map_forget(&j->map);
        s->layer[s->n_layer] = l;
        s->rows[s->n_layer++] = rows;
        rows += l.n_row;
        value += 2 * n;
    }
    return ST_OK;
}

void sti_samples_free(sti_samples *s)
{
    sti_free(s->layer);
    sti_free(s->rows);
    sti_free(s->memory);
    *s = (sti_samples){.n_layer = 0};
}
