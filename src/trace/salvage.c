/* SPDX-License-Identifier: MIT
 *
 * salvage.c — a trace out of what an interrupted run left behind.
 *
 * How far to go: a layer's rows are in the journal up to its last whole chunk. While a micro-batch
 * is under way some layers are ahead of others, so the rows that all layers have are those of the
 * layer furthest behind. But a layer that has no chunk at all does not show. It cannot be missing
 * once any layer has begun a second micro-batch, nor if the run had ended; before that nothing is
 * sure, and nothing is saved.
 */
#include <errno.h>
#include <sys/file.h>

#include "trace/journal.h"
#include "trace/tensors_int.h"

/* The last row up to `row` that is not inside one of the layer's chunks, nor behind them all. */
static int64_t boundary_before(const sti_journal *j, const sti_journal_layer *l, int64_t row)
{
    for (int64_t i = l->n_chunk; i > 0; i--) {
        sti_chunk_head h = sti_journal_chunk(j, l->chunk[i - 1]).h;
        if (h.first_query + h.n_q <= row)
            return i < l->n_chunk ? row : h.first_query + h.n_q;
        if (h.first_query < row)
            row = h.first_query;
    }
    return row;
}

/* Rows that every layer has, at a chunk's border in each of them. */
static int64_t common_rows(const sti_journal *j)
{
    int64_t rows = j->n_layer > 0 ? j->begin.n_tok : 0, before;
    do {
        before = rows;
        for (int64_t i = 0; i < j->n_layer; i++)
            rows = boundary_before(j, &j->layer[i], rows);
    } while (rows < before);
    return rows;
}

static bool layers_known(const sti_journal *j)
{
    for (int64_t i = 0; i < j->n_layer; i++)
        if (j->layer[i].n_chunk > 1)
            return true;
    return j->sealed;
}

static st_status lock_journal(const sti_mapping *map, const char *part, st_error *err)
{
    if (flock(map->fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK) /* else: no locks here */
        return sti_fail(err, ST_ERR_IO, -1, "cannot salvage %s: the run is still writing it", part);
    return ST_OK;
}

st_status st_trace_salvage(const char *part, const char *path, int64_t *n_tok, st_error *err)
{
    sti_mapping map;
    sti_journal j;
    int64_t rows;
    st_status status;
    STI_TRY(sti_check_target(path, err));
    STI_TRY(sti_map_path(part, &map, err));
    status = lock_journal(&map, part, err);
    if (status != ST_OK) {
        sti_unmap(&map);
        return status;
    }
    STI_TRY(sti_journal_open(map, &j, err));
    rows = layers_known(&j) ? common_rows(&j) : 0;
    sti_journal_cut(&j, rows);
    if (j.n_layer > 0) {
        status = sti_trace_assemble(&j, rows, false, path, NULL, err);
    } else {
        status = sti_fail_at(err, ST_ERR_FORMAT, j.valid_bytes,
                             "the journal has no micro-batch that is known to be complete");
    }
    sti_journal_free(&j);
    if (status == ST_OK && n_tok != NULL)
        *n_tok = rows;
    return status;
}
