/* SPDX-License-Identifier: MIT
 *
 * cmd_ruler.c — sparsetrace ruler: RULER's tasks, dense beside pruned.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd.h"
#include "paths.h"
#include "ruler.h"

/* ---- options --------------------------------------------------------------------------------- */

/* Each can be written, and is no file that is read and no other output. */
static int check_outputs(const ruler_args *a)
{
    const char *const name[] = {"-o", "--csv", "--plot", "--write-data"};
    const char *const out[] = {a->out, a->csv, a->plot, a->write_data};
    const char *const file[] = {a->model,        a->source.data, a->source.haystack,
                                a->source.words, a->out,         a->csv,
                                a->plot};
    int code = -1;
    for (int i = 0; code < 0 && i < 4; i++) {
        code = paths_apart("ruler", name[i], out[i], file, 4 + i);
        if (code < 0)
            code = paths_writable(out[i]);
    }
    return code;
}

static int parse(ruler_args *a, int argc, char **argv)
{
    /* clang-format off */
    const arg_option option[] = {
        {"-m", "MODEL", ARG_TEXT, &a->model, 0, 0, "GGUF file"},
        {"--tasks", "LIST", ARG_TEXT, &a->source.tasks, 0, 0,
         "niah_single_1,niah_multikey_2,niah_multikey_3,vt,cwe,fwe (default: these,\n"
         "and with --haystack niah_single_2; none with --data)"},
        {"--lengths", "LIST", ARG_TEXT, &a->source.lengths, 0, 0,
         "tokens of prompt and answer (1024,2048,4096,8192)"},
        {"--samples", "N", ARG_INT, &a->source.n_sample, 1, 100000,
         "of each task and length (20)"},
        {"--seed", "N", ARG_INT, &a->source.seed, 0, 0, "of the samples (42)"},
        {"--haystack", "FILE", ARG_TEXT, &a->source.haystack, 0, 0,
         "text that niah_single_2 hides its needle in"},
        {"--words", "FILE", ARG_TEXT, &a->source.words, 0, 0,
         "words of cwe, one a line, instead of the built-in ones"},
        {"--data", "FILE", ARG_TEXT, &a->source.data, 0, 0, "samples from RULER's own JSONL"},
        {"--write-data", "FILE", ARG_TEXT, &a->write_data, 0, 0,
         "write the samples as JSONL, run nothing"},
        {"--chat", "WHEN", ARG_TEXT, &a->chat, 0, 0,
         "use the model's chat template: auto (where it has one; default), on, off"},
        {"--select", "LIST", ARG_TEXT, &a->select, 0, 0,
         "methods: stream (default), hip, window, flat, scan, exact, auto"},
        {"--pruned", "LIST", ARG_TEXT, &a->pruned, 0, 0,
         "budgets: shares of the causal pairs to prune (0.95); a prompt too short\n"
         "for that is pruned as far as leaves one block to choose; 0.90-0.96: of\n"
         "each sample as much within that as keeps the dense run's answer tokens"},
        {"--k", "LIST", ARG_TEXT, &a->k, 0, 0,
         "budgets: key blocks kept per query block, instead of --pruned"},
        {"--block-q", "N", ARG_INT, &a->block_q, 1, 1024,
         "rows of a query block (by length; --k: 32)"},
        {"--block-k", "N", ARG_INT, &a->block_k, 1, 1024,
         "keys of a key block (by length; --k: 16)"},
        {"--sample-rows", "N", ARG_INT, &a->sample_rows, 1, ST_SELECT_ROWS_MAX,
         "rows of a query block that choose for it (8)"},
        {"--cert-rows", "N", ARG_INT, &a->cert_rows, 0, 65536,
         "rows a layer whose recall is measured (8)"},
        {"--greedy", NULL, ARG_FLAG, &a->greedy, 0, 0,
         "also decode greedily, as RULER does, to check the scores (slow)"},
        {"-o", "ROWS.csv", ARG_TEXT, &a->out, 0, 0,
         "one line for each sample and setting, as they come"},
        {"--resume", NULL, ARG_FLAG, &a->resume, 0, 0, "go on with the file of -o"},
        {"--csv", "FILE", ARG_TEXT, &a->csv, 0, 0, "the table as CSV"},
        {"--plot", "FILE.svg", ARG_TEXT, &a->plot, 0, 0, "scores over lengths"},
        {"--threads", "N", ARG_INT, &a->n_thread, 1, 512, "default: all processors"},
        {"--ctk", "TYPE", ARG_TEXT, &a->ctk, 0, 0, "type of the K cache (f16)"},
        {"--ctv", "TYPE", ARG_TEXT, &a->ctv, 0, 0, "type of the V cache (f16)"},
        {"--ubatch", "N", ARG_INT, &a->ubatch, 1, 1 << 20, "tokens of a micro-batch (2048)"},
        {"--weights", "TYPE", ARG_TEXT, &a->weights, 0, 0, "bf16 (default), f32, as-is"},
        {"--json", NULL, ARG_FLAG, &a->json, 0, 0, "print the table as one JSON object"},
        {"--quiet", NULL, ARG_FLAG, &a->quiet, 0, 0, "no progress"},
        {"--verbose", NULL, ARG_FLAG, &a->verbose, 0, 0, "libllama's own log on stderr"},
    };
    const arg_verb verb = {
        "ruler",
        "-m MODEL [--tasks LIST] [--lengths LIST] [--select LIST] [--pruned LIST] [options]",
        "Makes samples of RULER's long-context tasks and runs each densely and pruned, the right\n"
        "answer given token by token (teacher forcing). Prints for each task, length, method and\n"
        "budget both scores and how much of the dense run is kept.",
        option, sizeof option / sizeof *option, 0, 0};
    /* clang-format on */
    const char *word[1];
    int n_word, code = args_parse(&verb, argc, argv, word, &n_word);
    if (code >= 0)
        return code;
    if (a->model == NULL)
        return args_complain("ruler", "which model? -m MODEL");
    if (a->k != NULL && a->pruned != NULL)
        return args_complain("ruler", "--k and --pruned are two budgets: give one");
    if ((a->block_q == 0) != (a->block_k == 0))
        return args_complain("ruler", "--block-q and --block-k go together");
    if (a->resume && a->out == NULL)
        return args_complain("ruler", "--resume goes on with a file: -o ROWS.csv");
    if (a->chat != NULL && strcmp(a->chat, "auto") != 0 && strcmp(a->chat, "on") != 0 &&
        strcmp(a->chat, "off") != 0)
        return args_complain("ruler", "--chat: \"%s\" is not auto, on or off", a->chat);
    return check_outputs(a);
}

static int parse_weights(const char *text, st_weights *weights)
{
    static const char *const name[] = {"bf16", "f32", "as-is"};
    for (int i = 0; text != NULL && i < 3; i++)
        if (strcmp(text, name[i]) == 0) {
            *weights = (st_weights)i;
            return -1;
        }
    return text == NULL
               ? -1
               : args_complain("ruler", "--weights: \"%s\" is not bf16, f32 or as-is", text);
}

/* The next entry of a list into buf; false at its end. */
static bool next_entry(const char **at, char *buf, size_t size)
{
    size_t n = strcspn(*at, ",");
    if (**at == '\0')
        return false;
    snprintf(buf, size, "%.*s", (int)n, *at);
    *at += n + ((*at)[n] == ',');
    return true;
}

/* One budget of one method. */
static int add_setting(ruler_job *j, const st_select_params *select, const char *budget)
{
    ruler_setting *s = &j->setting[j->n_setting];
    bool is_k = j->a->k != NULL;
    st_error err;
    char *end;
    if (strlen(budget) + 3 >= sizeof s->target) /* cut off, maybe */
        return args_complain("ruler", "a budget that begins with \"%s\": too long", budget);
    if (j->n_setting == RULER_SETTING_MAX)
        return args_complain("ruler", "more than %d methods and budgets", RULER_SETTING_MAX);
    *s = (ruler_setting){.select = *select, .pruned = -1};
    snprintf(s->target, sizeof s->target, "%s%s", is_k ? "k=" : "", budget);
    if (is_k) {
        int64_t least = st_select_min_k(select);
        s->select.k = strtod(budget, &end);
        if (*budget == '\0' || *end != '\0' ||
            !(s->select.k >= (double)least && s->select.k <= INT32_MAX))
            return args_complain("ruler",
                                 "--k: \"%s\" is not a number of blocks from %lld on (sink, window "
                                 "and diagonal are always kept)",
                                 budget, (long long)least);
    } else {
        if (!ruler_parse_share(budget, &s->least, &s->pruned))
            return args_complain("ruler",
                                 "--pruned: \"%s\" is not a share of 0..1 or two, the lower first, "
                                 "as in 0.90-0.96",
                                 budget);
        s->select.grow_tok = select->method == ST_SELECT_WINDOW ? 0 : -1;
        s->select.pooled = true; /* where the method can */
        s->select.pooled = st_select_params_check(&s->select, &err) == ST_OK;
    }
    j->n_setting++;
    return -1;
}

static int parse_settings(ruler_job *j)
{
    const ruler_args *a = j->a;
    const char *methods = a->select != NULL ? a->select : "stream";
    char method[32], budget[sizeof j->setting[0].target - 2];
    while (next_entry(&methods, method, sizeof method)) {
        const char *budgets = a->k != NULL ? a->k : a->pruned != NULL ? a->pruned : "0.95";
        st_select_params select = st_select_params_default();
        st_error err;
        int code = -1;
        select.bq = a->block_q > 0 ? (int)a->block_q : select.bq;
        select.bk = a->block_k > 0 ? (int)a->block_k : select.bk;
        select.rows = (int)a->sample_rows;
        if (st_select_method_parse(method, &select.method, &err) != ST_OK)
            return args_complain("ruler", "--select: %s", err.message);
        while (code < 0 && next_entry(&budgets, budget, sizeof budget))
            code = add_setting(j, &select, budget);
        if (code >= 0)
            return code;
    }
    return j->n_setting > 0 ? -1 : args_complain("ruler", "no method or no budget is given");
}

/* ---- the job --------------------------------------------------------------------------------- */

static bool progress(void *ctx, const char *what, int64_t done, int64_t total)
{
    ruler_job *j = ctx;
    return out_progress(&j->bar, j->label[0] != '\0' ? j->label : what, done, total);
}

static void note(ruler_job *j, const ruler_row *row, const st_error *err)
{
    out_progress_end(&j->bar);
    if (row != NULL)
        fprintf(stderr, "sparsetrace: %s, %lld tokens: %s\n", row->task, (long long)row->length,
                err->message);
    else
        fprintf(stderr, "sparsetrace: %s; passed over\n", err->message);
}

/* A line where there is no terminal for a bar: a long job's log should move. */
static void tell(const ruler_job *j, const ruler_row *row)
{
    if (!j->a->quiet && !isatty(STDERR_FILENO))
        fprintf(stderr, "sparsetrace: %s, %lld tokens, sample %lld done\n", row->task,
                (long long)row->length, (long long)row->index);
}

static st_status run_samples(ruler_job *j, ruler_samples *samples, FILE *data, st_error *err)
{
    for (;;) {
        ruler_row row = {.n_tok = 0};
        st_task_sample *sample = NULL;
        bool more;
        st_status status = ruler_samples_next(samples, &row, &more, err);
        if (status == ST_ERR_FORMAT || status == ST_ERR_LIMIT) {
            note(j, NULL, err);
            continue;
        }
        if (status != ST_OK || !more)
            return status;
        if (data == NULL && ruler_all_done(j, &row)) {
            j->n_sample++;
            continue;
        }
        snprintf(j->label, sizeof j->label, "%.15s %lld #%lld", row.task, (long long)row.length,
                 (long long)row.index);
        status = ruler_samples_take(samples, &sample, err);
        if (status == ST_ERR_LIMIT) {
            note(j, &row, err);
            ruler_samples_skip_cell(samples);
            continue;
        }
        if (status == ST_OK)
            status = data != NULL ? st_task_write_line(data, sample, err)
                                  : ruler_run_sample(j, sample, &row, err);
        st_task_sample_free(sample);
        if (status == ST_OK && out_interrupted()) {
            *err = (st_error){.status = ST_ERR_CANCELLED, .position = -1};
            snprintf(err->message, sizeof err->message, "stopped");
            status = ST_ERR_CANCELLED;
        }
        if (status != ST_OK)
            return status;
        j->n_sample++;
        if (data == NULL)
            tell(j, &row);
    }
}

static int cannot_write(const char *path)
{
    fprintf(stderr, "sparsetrace: cannot write %s: %s\n", path, strerror(errno));
    return EXIT_FAILED;
}

static int no_sample(void)
{
    fprintf(stderr, "sparsetrace: there is not one sample that can be run\n");
    return EXIT_FAILED;
}

static int write_data(ruler_job *j, ruler_samples *samples)
{
    char beside[PATHS_MAX];
    st_error err = {.status = ST_OK};
    FILE *f = paths_create(j->a->write_data, beside);
    st_status status;
    if (f == NULL)
        return cannot_write(j->a->write_data);
    status = run_samples(j, samples, f, &err);
    if (!paths_close(f, j->a->write_data, beside, status == ST_OK && j->n_sample > 0))
        return cannot_write(j->a->write_data);
    if (status != ST_OK)
        return out_failed(&err);
    return j->n_sample > 0 ? EXIT_OK : no_sample();
}

/* Whatever rows there are, also of an interrupted job. */
static int print_results(const ruler_job *j, bool interrupted)
{
    ruler_about about = {.model = j->info,
                         .chat = j->chat,
                         .greedy = j->a->greedy,
                         .interrupted = interrupted,
                         .seed = j->a->source.seed};
    ruler_cells cells = ruler_cells_of(j);
    int code = EXIT_OK;
    if (j->a->json)
        ruler_print_json(&cells, &about);
    else
        ruler_print_table(&cells, &about);
    if (j->a->csv != NULL && !ruler_write_csv(&cells, j->a->csv))
        code = cannot_write(j->a->csv);
    if (j->a->plot != NULL && !ruler_write_plot(&cells, &about, j->a->plot))
        code = cannot_write(j->a->plot);
    ruler_cells_free(&cells);
    return code;
}

static int run(ruler_job *j, st_model_params *mp, ruler_samples *samples)
{
    st_error err = {.status = ST_OK};
    st_status status;
    int code;
    out_catch_interrupt();
    mp->progress = j->run.progress = (st_progress){progress, j};
    status = st_model_open(j->a->model, mp, &j->model, &err);
    if (status == ST_OK) {
        st_model_get_info(j->model, &j->info);
        status = ruler_settle_chat(j, &err);
    }
    out_progress_end(&j->bar);
    if (status != ST_OK)
        return out_failed(&err);
    if (ruler_samples_longest(samples) > j->info.n_ctx_train)
        fprintf(stderr, "sparsetrace: note: %lld tokens, but the model was trained on %d\n",
                (long long)ruler_samples_longest(samples), j->info.n_ctx_train);
    ruler_samples_count(samples, ruler_count_tokens, j->model, j->template_tok);
    if (j->a->write_data != NULL)
        return write_data(j, samples);
    code = ruler_rows_open(&j->rows, j->a->out, j->a->resume);
    if (code >= 0)
        return code;
    status = run_samples(j, samples, NULL, &err);
    out_progress_end(&j->bar);
    if (status != ST_OK && status != ST_ERR_CANCELLED)
        return out_failed(&err);
    code = print_results(j, status != ST_OK);
    if (status == ST_OK)
        return code == EXIT_OK && j->n_sample == 0 ? no_sample() : code;
    fprintf(stderr, "sparsetrace: stopped%s%s\n",
            j->a->out != NULL ? "; --resume goes on with " : "",
            j->a->out != NULL ? j->a->out : "");
    return EXIT_FAILED;
}

int cmd_ruler(int argc, char **argv)
{
    st_select_params select = st_select_params_default();
    ruler_args a = {.source = {.n_sample = 20, .seed = 42},
                    .sample_rows = select.rows,
                    .cert_rows = 8};
    ruler_job j = {.a = &a, .run = st_run_params_default()};
    st_model_params mp = st_model_params_default();
    ruler_samples *samples = NULL;
    int code = parse(&a, argc, argv);
    if (code < 0)
        code = parse_settings(&j);
    if (code < 0)
        code = parse_weights(a.weights, &mp.weights);
    if (code < 0)
        code = ruler_samples_open(&a.source, &samples);
    if (code < 0) {
        j.bar.quiet = a.quiet;
        mp.n_thread = (int)a.n_thread;
        mp.verbose = a.verbose;
        j.run.n_ubatch = (int)a.ubatch;
        j.run.type_k = a.ctk != NULL ? a.ctk : j.run.type_k;
        j.run.type_v = a.ctv != NULL ? a.ctv : j.run.type_v;
        code = run(&j, &mp, samples);
    }
    ruler_samples_free(samples);
    ruler_rows_close(&j.rows);
    st_model_free(j.model);
    return code;
}
