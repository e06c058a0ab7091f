/* SPDX-License-Identifier: MIT
 *
 * memory.c — 64-byte aligned memory, so that a vector load never crosses a cache line by accident.
 */
#include <stdlib.h>
#include <sys/mman.h>

#include "base/util.h"

#define ALIGN 64

void *sti_alloc(size_t bytes)
{
    if (bytes > SIZE_MAX - ALIGN)
        return NULL;
    return aligned_alloc(ALIGN, (bytes / ALIGN + 1) * ALIGN);
}

bool sti_large_grow(void **p, size_t *have, size_t want)
{
    void *q;
    if (want <= *have)
        return true;
    want += want / 4;
#ifdef MREMAP_MAYMOVE
    want = (want + 4095) & ~(size_t)4095;
    q = *p != NULL ? mremap(*p, *have, want, MREMAP_MAYMOVE)
                   : mmap(NULL, want, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (q == MAP_FAILED)
        return false;
    madvise(q, want, MADV_HUGEPAGE); /* only a wish */
#else
    q = sti_alloc(want);
    if (q == NULL)
        return false;
    sti_free(*p);
#endif
    *p = q;
    *have = want;
    return true;
}

void sti_large_free(void *p, size_t have)
{
#ifdef MREMAP_MAYMOVE
    if (p != NULL)
        munmap(p, have);
#else
    (void)have;
    sti_free(p);
#endif
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
