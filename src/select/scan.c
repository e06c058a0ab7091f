/* SPDX-License-Identifier: MIT
 *
 * scan.c — every candidate block by its exact int8 mass on the sampled rows: quadratic, but without
 * values and on a fraction of the rows, and it loses no needle that those rows read. And `window`,
 * which looks at nothing.
 */
#include "base/util.h"
#include "select/mass.h"
#include "select/methods.h"

bool sti_select_scan(sti_work *w, sti_unit *u, int h, int rows)
{
    static const float nothing[R16] = {0};
    _Alignas(64) float known[R16];
    int64_t n = u->hi - u->lo;
    if (!sti_unit_reserve(w, u, n))
        return false;
    sti_work_sample(w, u, h, rows, false);
    sti_edge_mass(w, u, h, known);
    for (int64_t i = 0; i < n; i++)
        w->list[0][i] = (int32_t)(u->lo + i);
    sti_candidate_mass(w, h, w->list[0], n);
    sti_rank(w, u, h, nothing);
    return true;
}

int64_t sti_select_window(sti_work *w, const sti_frame *f, int h, int32_t *kept)
{
    (void)w;
    (void)h;
    for (int64_t i = 0; i < f->budget; i++)
        kept[i] = (int32_t)(f->cand_hi - f->budget + i);
    return f->budget;
}
