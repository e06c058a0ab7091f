/* SPDX-License-Identifier: MIT
 *
 * scan.c — every candidate block by its exact int8 mass on the sampled rows: quadratic, but without
 * values and on a fraction of the rows, and it loses no needle that those rows read. And `window`,
 * which looks at nothing.
 */
#include "base/util.h"
#include "select/mass.h"
#include "select/methods.h"

int64_t sti_select_scan(sti_work *w, const sti_frame *f, int h, int32_t *kept)
{
    int64_t n = sti_frame_candidates(f);
    sti_mass always;
    if (!sti_work_reserve(w, sti_max(sti_max(n, sti_frame_always(f)), w->p->bk)))
        return -1;
    sti_work_sample(w, f, h);
    always = sti_always_mass(w, f, h);
    for (int64_t i = 0; i < n; i++)
        w->list[0][i] = (int32_t)(f->cand_lo + i);
    return sti_rank(w, f, h, &always, &always, w->list[0], n, kept);
}

int64_t sti_select_window(sti_work *w, const sti_frame *f, int h, int32_t *kept)
{
    (void)w;
    (void)h;
    for (int64_t i = 0; i < f->budget; i++)
        kept[i] = (int32_t)(f->cand_hi - f->budget + i);
    return f->budget;
}
