/* SPDX-License-Identifier: MIT
 *
 * route_run.c — running the tokens of a trace again, with the model that it was made with.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "route_run.h"

st_status route_refuse(st_error *err, const char *option, const char *why)
{
    *err = (st_error){.status = ST_ERR_ARG, .position = -1};
    snprintf(err->message, sizeof err->message, "%s: %s", option, why);
    return ST_ERR_ARG;
}

static double recipe_real(const st_trace *t, const char *pointer, double otherwise)
{
    char text[32];
    st_trace_value(t, "recipe", pointer, text, sizeof text);
    return *text >= '0' && *text <= '9' ? strtod(text, NULL) : otherwise;
}

static int64_t recipe_number(const st_trace *t, const char *pointer, int64_t otherwise)
{
    char text[32];
    st_trace_value(t, "recipe", pointer, text, sizeof text);
    return *text >= '0' && *text <= '9' ? strtoll(text, NULL, 10) : otherwise;
}

/* The trace's selection, as far as its recipe tells. */
static st_select_params recipe_select(const st_trace *t)
{
    st_select_params p = st_select_params_default(), sound = p;
    char text[32];
    st_trace_info info;
    st_trace_get_info(t, &info);
    st_trace_value(t, "recipe", "/select/method", text, sizeof text);
    if (*text != '\0')
        st_select_method_parse(text, &p.method, NULL);
    p.bq = info.bq;
    p.bk = info.bk;
    p.k = recipe_real(t, "/select/k", p.k);
    p.mass = (float)recipe_real(t, "/select/mass", (double)p.mass);
    p.rows = (int)recipe_number(t, "/select/rows", p.rows);
    p.beam = (int)recipe_number(t, "/select/beam", p.beam);
    p.rerank = (float)recipe_real(t, "/select/rerank", (double)p.rerank);
    p.sink_blk = (int)recipe_number(t, "/select/sink_blk", p.sink_blk);
    p.window_blk = (int)recipe_number(t, "/select/window_blk", p.window_blk);
    p.pooled =
        strcmp(st_trace_value(t, "recipe", "/select/pooled", text, sizeof text), "true") == 0;
    p.grow_tok = recipe_number(t, "/select/grow_tok", 0);
    return st_select_params_check(&p, NULL) == ST_OK ? p : sound;
}

/* The weights that the recipe names: of a converted model what it was converted to. */
static st_weights recipe_weights(const st_trace *t)
{
    char weights[64], converted[16];
    st_trace_value(t, "recipe", "/model/weights", weights, sizeof weights);
    st_trace_value(t, "recipe", "/model/converted", converted, sizeof converted);
    if (*weights == '\0')
        return ST_WEIGHTS_BF16;
    if (strcmp(converted, "true") != 0)
        return ST_WEIGHTS_AS_IS;
    return strstr(weights, "F32") != NULL ? ST_WEIGHTS_F32 : ST_WEIGHTS_BF16;
}

static void recipe_cache(const st_trace *t, const char *pointer, char type[16])
{
    st_trace_value(t, "recipe", pointer, type, 16);
    if (*type == '\0')
        snprintf(type, 16, "%s", st_run_params_default().type_k);
}

/* The edits of the recipe into run->edit. */
static st_status recipe_edits(route_run *run, const st_trace *t, int64_t n_tok, st_error *err)
{
    char pointer[40], text[ST_EDIT_TEXT];
    st_status status = ST_OK;
    for (;;) {
        snprintf(pointer, sizeof pointer, "/edits/%lld", (long long)run->n_edit);
        if (*st_trace_value(t, "recipe", pointer, text, sizeof text) == '\0')
            break;
        run->n_edit++;
    }
    if (run->n_edit > 0)
        run->edit = out_need((size_t)run->n_edit * sizeof *run->edit);
    for (int64_t i = 0; status == ST_OK && i < run->n_edit; i++) {
        bool deny;
        snprintf(pointer, sizeof pointer, "/edits/%lld", (long long)i);
        st_trace_value(t, "recipe", pointer, text, sizeof text);
        deny = strncmp(text, "deny ", 5) == 0;
        if (!deny && strncmp(text, "keep ", 5) != 0)
            return route_refuse(err, pointer, "an edit that is neither deny nor keep");
        status =
            st_edit_parse(deny ? ST_EDIT_DENY : ST_EDIT_KEEP, text + 5, n_tok, &run->edit[i], err);
    }
    return status;
}

st_status route_run_open(route_run *run, const char *option, const st_trace *trace, st_error *err)
{
    st_model_params mp = st_model_params_default();
    st_model_info info;
    st_trace_info of;
    char hash[80];
    st_trace_get_info(trace, &of);
    if (st_trace_tokens(trace) == NULL)
        return route_refuse(err, option, "the trace holds no tokens to run again");
    if (recipe_edits(run, trace, of.n_tok, err) != ST_OK)
        return err->status;
    recipe_cache(trace, "/type_k", run->type_k);
    recipe_cache(trace, "/type_v", run->type_v);
    mp.weights = recipe_weights(trace);
    mp.n_thread = (int)run->n_thread;
    mp.progress = (st_progress){out_progress, &run->bar};
    out_catch_interrupt();
    if (st_model_open(run->path, &mp, &run->model, err) != ST_OK) {
        out_progress_end(&run->bar);
        return err->status;
    }
    run->select = recipe_select(trace);
    st_model_get_info(run->model, &info);
    st_trace_value(trace, "recipe", "/model/sha256", hash, sizeof hash);
    if (hash[0] == '\0' || strcmp(hash, info.sha256) == 0)
        return ST_OK;
    return route_refuse(err, option, "-m is another model than the trace's (sha256 differs)");
}

void route_run_close(route_run *run)
{
    st_model_free(run->model);
    free(run->edit);
    run->model = NULL;
    run->edit = NULL;
}
