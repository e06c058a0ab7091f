/* SPDX-License-Identifier: MIT
 *
 * test_order.c — the largest scores and the orders of lists, against qsort: even and clustered
 * scores, ties, zeros, and lists of all lengths.
 */
#include <stdlib.h>

#include "base/util.h"
#include "check.h"
#include "select/order.h"

enum { MOST = 3000 };

static uint64_t state = 1;

static uint64_t draw(uint64_t n)
{
    state = sti_mix(state);
    return state % n;
}

struct scored {
    float score;
    int32_t at;
};

/* falling scores, ties by place */
static int by_score(const void *x, const void *y)
{
    const struct scored *a = x, *b = y;
    if (a->score != b->score)
        return a->score < b->score ? 1 : -1;
    return (a->at > b->at) - (a->at < b->at);
}

static int by_number(const void *x, const void *y)
{
    int32_t a = *(const int32_t *)x, b = *(const int32_t *)y;
    return (a > b) - (a < b);
}

/* kind 0: over many octaves; 1: few values; 2: all but one near each other; 3: zeros among them */
static float draw_score(int kind, int64_t i)
{
    float x = (float)draw(1 << 20) * 0x1p-20f;
    switch (kind) {
    case 0: return x * x * x * x * x * x;
    case 1: return (float)draw(5);
    case 2: return i == 7 ? 1e9f : 1.0f + x * 1e-3f;
    default: return draw(2) == 0 ? 0.0f : x;
    }
}

static void test_top(sti_work *w)
{
    static float score[MOST];
    static struct scored want[MOST];
    static int32_t got[MOST], ordered[MOST];
    for (int t = 0; t < 400; t++) {
        int64_t n = t < 60 ? t : (int64_t)draw(t % 10 == 0 ? MOST : 300);
        int64_t keep = (int64_t)draw((uint64_t)n + 3), n_want = keep < n ? keep : n;
        bool same = true, rising = true, in_order = true;
        for (int64_t i = 0; i < n; i++) {
            score[i] = draw_score(t % 4, i);
            want[i] = (struct scored){score[i], (int32_t)i};
        }
        qsort(want, (size_t)n, sizeof *want, by_score);
        CHECK_EQ(sti_top(w, score, n, keep, got), n_want);
        CHECK_EQ(sti_top_ordered(w, score, n, keep, ordered), n_want);
        for (int64_t i = 0; i < n_want; i++) {
            in_order = in_order && ordered[i] == want[i].at;
            rising = rising && (i == 0 || got[i - 1] < got[i]);
        }
        qsort(ordered, (size_t)n_want, sizeof *ordered, by_number);
        for (int64_t i = 0; i < n_want; i++)
            same = same && got[i] == ordered[i];
        CHECK(in_order && rising && same);
    }
}

static void test_blocks(sti_work *w)
{
    static int32_t got[MOST], want[MOST];
    for (int t = 0; t < 400; t++) {
        int64_t n = t < 60 ? t : (int64_t)draw(t % 10 == 0 ? MOST : 300), n_block = 0;
        int32_t step[] = {2, 40, 1024, 500};
        for (int64_t i = 0; i < n; i++) { /* ascending, then shuffled */
            n_block += 1 + (int64_t)draw((uint64_t)step[t % 4]) * (t % 8 == 3 && i != 5 ? 0 : 1);
            got[i] = want[i] = (int32_t)n_block;
        }
        for (int64_t i = n - 1; i > 0; i--) {
            int64_t j = (int64_t)draw((uint64_t)i + 1);
            int32_t x = got[i];
            got[i] = got[j];
            got[j] = x;
        }
        sti_sort_blocks(got, n, w->item);
        CHECK(n == 0 || memcmp(got, want, (size_t)n * sizeof *got) == 0);
    }
}

int main(void)
{
    sti_work w = {.bits = malloc(MOST * sizeof *w.bits), .item = malloc(2 * MOST * sizeof *w.item)};
    test_top(&w);
    test_blocks(&w);
    free(w.bits);
    free(w.item);
    return check_report();
}
