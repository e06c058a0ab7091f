/* SPDX-License-Identifier: MIT
 *
 * features.c — what the tagger sees of a sentence. A feature is a name (bytes; the first one is its
 * kind) that is hashed; each name counts once a sentence. Words, triples and characters are those
 * of the normalised sentence: ASCII lower case, a run of digits as one 0, a run of white space as
 * one space.
 */
#include <stdlib.h>

#include "reason/features.h"

#define READ_BYTES 4096 /* a sentence is read up to here */
#define HERE 2          /* near_by's middle */

/* ---- normalising ----------------------------------------------------------------------------- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_white(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || c == '\'' || (unsigned char)c >= 0x80;
}

static int64_t normalise(const char *s, int64_t n, char *out)
{
    int64_t to = 0;
    out[to++] = ' ';
    for (int64_t i = 0; i < n; i++) {
        char c = s[i];
        if (is_digit(c)) {
            if (i == 0 || !is_digit(s[i - 1]))
                out[to++] = '0';
        } else if (is_white(c)) {
            if (out[to - 1] != ' ')
                out[to++] = ' ';
        } else {
            out[to++] = c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
        }
    }
    if (out[to - 1] != ' ' || to == 1)
        out[to++] = ' ';
    return to;
}

static void cut_words(sti_words *w)
{
    for (int64_t i = 1; i < w->n_norm - 1;) {
        int64_t end = i + 1;
        if (is_word(w->norm[i]))
            while (end < w->n_norm - 1 && is_word(w->norm[end]))
                end++;
        if (w->norm[i] != ' ') {
            w->word[w->n].at = (int32_t)i;
            w->word[w->n++].len = (int32_t)(end - i);
        }
        i = end;
    }
}

static int64_t read_bytes(const sti_features *f, int64_t i)
{
    return sti_min(f->sentence[i].end - f->sentence[i].begin, READ_BYTES);
}

static void free_words(sti_words *w)
{
    sti_free(w->norm);
    sti_free(w->word);
    *w = (sti_words){0};
}

static st_status make_words(const sti_features *f, int64_t i, sti_words *w, st_error *err)
{
    int64_t n = i < f->n ? read_bytes(f, i) : 0;
    *w = (sti_words){0};
    if (i >= f->n)
        return ST_OK;
    w->norm = sti_alloc((size_t)n + 2);
    w->word = sti_alloc(((size_t)n + 1) * sizeof *w->word);
    if (w->norm == NULL || w->word == NULL) {
        free_words(w);
        return sti_fail_mem(err, (size_t)n * (1 + sizeof *w->word));
    }
    w->n_norm = normalise(f->text + f->sentence[i].begin, n, w->norm);
    cut_words(w);
    return ST_OK;
}

/* ---- names ----------------------------------------------------------------------------------- */

static uint64_t start(const char *prefix)
{
    return sti_hash_bytes(STI_HASH_START, prefix, (int64_t)strlen(prefix));
}

/* The hash of a prefix and words [i, i + n) with a space between each two. */
static uint64_t hash_words(uint64_t h, const sti_words *w, int64_t i, int64_t n)
{
    for (int64_t j = i; j < i + n; j++) {
        if (j > i)
            h = sti_hash_bytes(h, " ", 1);
        h = sti_hash_bytes(h, w->norm + w->word[j].at, w->word[j].len);
    }
    return sti_mix(h);
}

static bool add(sti_features *f, uint64_t hash, float value)
{
    if (!sti_grow((void **)&f->feature, &f->cap, f->n_feature + 1, sizeof *f->feature))
        return false;
    f->feature[f->n_feature++] = (sti_feature){hash, value};
    return true;
}

static bool add_grams(sti_features *f, const char *prefix, const sti_words *w, int64_t n,
                      float value)
{
    bool ok = true;
    for (int64_t i = 0; ok && i + n <= w->n; i++)
        ok = add(f, hash_words(start(prefix), w, i, n), value);
    return ok;
}

static bool add_first(sti_features *f, const char *prefix, const sti_words *w, int64_t n)
{
    return add(f, hash_words(start(prefix), w, 0, sti_min(n, w->n)), 1.0f);
}

static bool add_last(sti_features *f, const char *prefix, const sti_words *w)
{
    return add(f, hash_words(start(prefix), w, sti_max(w->n - 1, 0), sti_min(1, w->n)), 1.0f);
}

static bool add_own(sti_features *f, const sti_words *w)
{
    bool ok = add_grams(f, "w", w, 1, 1.0f) && add_grams(f, "b", w, 2, 1.0f) &&
              add_grams(f, "t", w, 3, 1.0f);
    for (int64_t n = 3; ok && n <= 5; n++)
        for (int64_t i = 0; ok && i + n <= w->n_norm; i++)
            ok = add(f, sti_mix(sti_hash_bytes(start("c"), w->norm + i, n)), 0.35f);
    return ok && add_first(f, "ef1", w, 1) && add_first(f, "ef2", w, 2) &&
           add_first(f, "ef3", w, 3) && add_last(f, "el", w);
}

static bool add_neighbour(sti_features *f, char mark, const sti_words *w)
{
    const char none[] = {'E', 'n', mark, 0}, word[] = {'W', mark, 0}, pair[] = {'B', mark, 0},
               first[] = {'E', 'f', mark, 0}, last[] = {'E', 'l', mark, 0};
    if (w->norm == NULL)
        return add(f, sti_mix(start(none)), 1.0f);
    return add_grams(f, word, w, 1, 0.5f) && add_grams(f, pair, w, 2, 0.35f) &&
           add_first(f, first, w, 2) && add_last(f, last, w);
}

/* ---- place, and what was said before --------------------------------------------------------- */

static int64_t end_of_number(const char *s, int64_t i, int64_t n)
{
    while (i < n && is_digit(s[i]))
        i++;
    if (i + 1 < n && s[i] == '.' && is_digit(s[i + 1]))
        for (i++; i < n && is_digit(s[i]);)
            i++;
    return i;
}

/* Counts the different hashes that `add_hash` gave into `found`, and those of them in `before`;
 * then they belong to `before`. */
static bool settle(sti_hash_set *before, const sti_hash_set *found, int64_t *n_before)
{
    *n_before = 0;
    for (int64_t i = 0; i < found->cap; i++)
        if (found->slot[i] != 0)
            *n_before += sti_hash_set_has(before, found->slot[i]);
    for (int64_t i = 0; i < found->cap; i++)
        if (found->slot[i] != 0 && !sti_hash_set_add(before, found->slot[i]))
            return false;
    return true;
}

static bool read_numbers(sti_features *f, const char *s, int64_t n)
{
    sti_hash_set found = {0};
    int64_t old = 0;
    bool ok = true;
    for (int64_t i = 0, end; ok && i < n; i = end) {
        end = i + 1;
        if (is_digit(s[i])) {
            end = end_of_number(s, i, n);
            ok = sti_hash_set_add(&found, sti_mix(sti_hash_bytes(STI_HASH_START, s + i, end - i)));
        }
    }
    ok = ok && settle(&f->numbers, &found, &old);
    f->n_number = found.n;
    f->n_new_number = found.n - old;
    sti_hash_set_free(&found);
    return ok;
}

static bool read_triples(sti_features *f, const sti_words *w, int64_t *quarter)
{
    sti_hash_set found = {0};
    int64_t old = 0;
    bool ok = true;
    for (int64_t i = 0; ok && i + 3 <= w->n; i++)
        ok = sti_hash_set_add(&found, hash_words(STI_HASH_START, w, i, 3));
    ok = ok && settle(&f->triples, &found, &old);
    *quarter = found.n > 0 ? 4 * old / found.n : 9;
    f->said_before = found.n > 0 ? (double)old / (double)found.n : -1.0;
    sti_hash_set_free(&found);
    return ok;
}

static bool add_place(sti_features *f, char what, int64_t x)
{
    const char name[] = {'p', what, (char)('0' + x), 0}; /* x is 0..9 */
    return add(f, sti_mix(start(name)), 1.0f);
}

static int64_t step_of_length(int64_t n_word)
{
    static const int edge[] = {3, 5, 8, 12, 17, 24, 34, 50};
    int64_t step = 0;
    for (size_t i = 0; i < sizeof edge / sizeof *edge; i++)
        step += n_word >= edge[i];
    return step;
}

/* Share in parts of `parts`, of whole numbers only. */
static int64_t part_of(int64_t n, int64_t parts, int64_t of)
{
    return parts * n / sti_max(1, of);
}

static bool add_places(sti_features *f, int64_t i, const sti_words *w, int64_t quarter)
{
    const char *s = f->text + f->sentence[i].begin;
    int64_t n = read_bytes(f, i), n_digit = 0, n_letter = 0, n_equal = 0;
    for (int64_t j = 0; j < n; j++) {
        n_digit += is_digit(s[j]);
        n_letter += (s[j] | 32) >= 'a' && (s[j] | 32) <= 'z';
        n_equal += s[j] == '=';
    }
    return add(f, sti_mix(start("p0")), 1.0f) && add_place(f, 'a', part_of(i, 10, f->n)) &&
           add_place(f, 'b', sti_min(i, 8)) && add_place(f, 'c', sti_min(f->n - 1 - i, 8)) &&
           add_place(f, 'd', step_of_length(w->n)) && add_place(f, 'e', part_of(n_digit, 9, n)) &&
           add_place(f, 'f', part_of(n_letter, 8, n)) && add_place(f, 'g', sti_min(3, n_equal)) &&
           add_place(f, 'h',
                     f->n_number > 0 ? part_of(f->n_number - f->n_new_number, 4, f->n_number)
                                     : 9) &&
           add_place(f, 'i', quarter);
}

/* ---- sentence after sentence ----------------------------------------------------------------- */

static int by_hash(const void *a, const void *b)
{
    const sti_feature *x = a, *y = b;
    return (x->hash > y->hash) - (x->hash < y->hash);
}

static void drop_repeats(sti_features *f)
{
    int64_t n = 0;
    qsort(f->feature, (size_t)f->n_feature, sizeof *f->feature, by_hash);
    for (int64_t i = 0; i < f->n_feature; i++)
        if (n == 0 || f->feature[i].hash != f->feature[n - 1].hash)
            f->feature[n++] = f->feature[i];
    f->n_feature = n;
}

st_status sti_features_begin(sti_features *f, const char *text, const st_group *sentence, int64_t n,
                             st_error *err)
{
    *f = (sti_features){.text = text, .sentence = sentence, .n = n};
    for (int o = HERE; o < 4; o++)
        STI_TRY(make_words(f, o - HERE, &f->near_by[o + 1], err));
    return ST_OK;
}

static st_status advance(sti_features *f, int64_t i, st_error *err)
{
    free_words(&f->near_by[0]);
    memmove(f->near_by, f->near_by + 1, 4 * sizeof *f->near_by);
    return make_words(f, i + 2, &f->near_by[4], err);
}

st_status sti_features_read(sti_features *f, int64_t i, st_error *err)
{
    int64_t quarter;
    STI_TRY(advance(f, i, err));
    if (!read_numbers(f, f->text + f->sentence[i].begin, read_bytes(f, i)) ||
        !read_triples(f, &f->near_by[HERE], &quarter))
        return sti_fail_mem(err, READ_BYTES * sizeof(uint64_t));
    return ST_OK;
}

st_status sti_features_next(sti_features *f, int64_t i, st_error *err)
{
    int64_t quarter;
    const sti_words *w = &f->near_by[HERE];
    bool ok;
    STI_TRY(advance(f, i, err));
    f->n_feature = 0;
    ok = read_numbers(f, f->text + f->sentence[i].begin, read_bytes(f, i)) &&
         read_triples(f, w, &quarter) && add_own(f, w) && add_places(f, i, w, quarter);
    for (int o = 0; ok && o < 5; o++)
        if (o != HERE)
            ok = add_neighbour(f, (char)('0' + o - (o > HERE)), &f->near_by[o]);
    if (!ok)
        return sti_fail_mem(err, (size_t)f->cap * sizeof *f->feature);
    drop_repeats(f);
    return ST_OK;
}

void sti_features_free(sti_features *f)
{
    for (int o = 0; o < 5; o++)
        free_words(&f->near_by[o]);
    sti_hash_set_free(&f->numbers);
    sti_hash_set_free(&f->triples);
    sti_free(f->feature);
    f->feature = NULL;
}
