/* SPDX-License-Identifier: MIT
 *
 * hashes.c — an open-addressed set that doubles when it is half full.
 */
#include "reason/hashes.h"

static uint64_t *find_slot(uint64_t *slot, int64_t cap, uint64_t hash)
{
    uint64_t at = hash & (uint64_t)(cap - 1);
    while (slot[at] != 0 && slot[at] != hash)
        at = (at + 1) & (uint64_t)(cap - 1);
    return &slot[at];
}

static uint64_t not_zero(uint64_t hash)
{
    return hash != 0 ? hash : 1;
}

bool sti_hash_set_has(const sti_hash_set *set, uint64_t hash)
{
    return set->n > 0 && *find_slot(set->slot, set->cap, not_zero(hash)) != 0;
}

static bool double_size(sti_hash_set *set)
{
    int64_t cap = set->cap > 0 ? 2 * set->cap : 64;
    uint64_t *slot = sti_calloc((size_t)cap * sizeof *slot);
    if (slot == NULL)
        return false;
    for (int64_t i = 0; i < set->cap; i++)
        if (set->slot[i] != 0)
            *find_slot(slot, cap, set->slot[i]) = set->slot[i];
    sti_free(set->slot);
    set->slot = slot;
    set->cap = cap;
    return true;
}

bool sti_hash_set_add(sti_hash_set *set, uint64_t hash)
{
    uint64_t *slot;
    if (2 * set->n >= set->cap && !double_size(set))
        return false;
    slot = find_slot(set->slot, set->cap, not_zero(hash));
    set->n += *slot == 0;
    *slot = not_zero(hash);
    return true;
}

void sti_hash_set_clear(sti_hash_set *set)
{
    if (set->slot != NULL)
        memset(set->slot, 0, (size_t)set->cap * sizeof *set->slot);
    set->n = 0;
}

void sti_hash_set_free(sti_hash_set *set)
{
    sti_free(set->slot);
    *set = (sti_hash_set){0};
}
