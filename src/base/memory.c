/* SPDX-License-Identifier: MIT
 *
 * memory.c — 64-byte aligned memory, so that a vector load never crosses a cache line by accident.
 */
#include <stdlib.h>

#include "base/util.h"

#define ALIGN 64

void *sti_alloc(size_t bytes)
{
    if (bytes > SIZE_MAX - ALIGN)
        return NULL;
    return aligned_alloc(ALIGN, (bytes / ALIGN + 1) * ALIGN);
}

void *sti_calloc(size_t bytes)
{
    void *p = sti_alloc(bytes);
    if (p != NULL)
        memset(p, 0, bytes);
    return p;
}

void sti_free(void *p)
{
    free(p);
}

bool sti_grow(void **p, int64_t *cap, int64_t need, size_t elem_bytes)
{
    int64_t want = *cap + *cap / 2;
    void *q;
    if (need <= *cap)
        return true;
    if (want < need)
        want = need;
    if (want < 16)
        want = 16;
    if ((uint64_t)want > SIZE_MAX / 2 / elem_bytes)
        return false;
    q = sti_alloc((size_t)want * elem_bytes);
    if (q == NULL)
        return false;
    if (*p != NULL)
        memcpy(q, *p, (size_t)*cap * elem_bytes);
    sti_free(*p);
    *p = q;
    *cap = want;
    return true;
}
