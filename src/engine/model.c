/* SPDX-License-Identifier: MIT
 *
 * model.c — opens a GGUF model with libllama.
 */
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "engine/engine_int.h"

st_model_params st_model_params_default(void)
{
    return (st_model_params){.weights = ST_WEIGHTS_BF16};
}

static void meta(const struct llama_model *m, const char *key, char *out, size_t size)
{
    if (llama_model_meta_val_str(m, key, out, size) < 0)
        snprintf(out, size, "unknown");
}

static void fill_info(st_model *m, const char *path)
{
    st_model_info *i = &m->info;
    const char *slash = strrchr(path, '/');
    meta(m->llama, "general.architecture", i->arch, sizeof i->arch);
    meta(m->llama, "general.name", i->name, sizeof i->name);
    if (strcmp(i->name, "unknown") == 0)
        snprintf(i->name, sizeof i->name, "%s", slash != NULL ? slash + 1 : path);
    snprintf(i->weights, sizeof i->weights, "%s", llama_ftype_name(llama_model_ftype(m->llama)));
    i->n_layer = llama_model_n_layer(m->llama);
    /* libllama's are of the first layer */
    i->n_head = (int)sti_max(i->n_head, llama_model_n_head(m->llama));
    i->n_kv_head = (int)sti_max(i->n_kv_head, llama_model_n_head_kv(m->llama));
    i->n_embd = llama_model_n_embd(m->llama);
    i->n_swa = llama_model_n_swa(m->llama);
    i->n_ctx_train = llama_model_n_ctx_train(m->llama);
    i->n_vocab = llama_vocab_n_tokens(m->vocab);
    i->n_params = (int64_t)llama_model_n_params(m->llama);
    i->has_chat_template = llama_model_chat_template(m->llama, NULL) != NULL;
}

struct loading {
    st_progress progress;
    bool stopped;
};

static bool load_progress(float done, void *ctx)
{
    struct loading *l = ctx;
    const st_progress *p = &l->progress;
    l->stopped = p->fn != NULL && !p->fn(p->ctx, "loading the model", (int64_t)(done * 1000), 1000);
    return !l->stopped;
}

static st_status load(st_model *m, const char *path, const st_model_params *p, st_error *err)
{
    struct llama_model_params mp = llama_model_default_params();
    struct loading loading = {.progress = p->progress};
    STI_TRY(sti_prepare_weights(path, p, &m->info, &m->run_path, err));
    mp.progress_callback = load_progress;
    mp.progress_callback_user_data = &loading;
    m->llama = m->run_path != NULL ? llama_model_load_from_file(m->run_path, mp) : NULL;
    if (loading.stopped)
        return sti_fail(err, ST_ERR_CANCELLED, -1, "stopped while loading %s", path);
    if (m->llama == NULL)
        return sti_fail(err, ST_ERR_MODEL, -1, "libllama cannot load %s: %s", path,
                        sti_llama_error("no reason given"));
    if (!llama_model_has_decoder(m->llama) || llama_model_has_encoder(m->llama) ||
        llama_model_is_recurrent(m->llama))
        return sti_fail(err, ST_ERR_MODEL, -1,
                        "%s is not a decoder with attention: nothing to trace", path);
    m->vocab = llama_model_get_vocab(m->llama);
    fill_info(m, path);
    return ST_OK;
}

st_status st_model_open(const char *path, const st_model_params *p, st_model **model, st_error *err)
{
    st_model *m = sti_calloc(sizeof *m);
    st_status status;
    *model = NULL;
    if (m == NULL)
        return sti_fail_mem(err, sizeof *m);
    sti_llama_log(p->verbose);
    st_ggml_register();
    llama_backend_init();
    m->n_thread = p->n_thread > 0 ? p->n_thread : sti_n_processor();
    m->info.n_thread = m->n_thread;
    status = load(m, path, p, err);
    if (status != ST_OK) {
        st_model_free(m);
        return status;
    }
    *model = m;
    return ST_OK;
}

void st_model_free(st_model *m)
{
    if (m == NULL)
        return;
    if (m->llama != NULL)
        llama_model_free(m->llama);
    sti_free(m->run_path);
    sti_free(m);
}

void st_model_get_info(const st_model *m, st_model_info *info)
{
    *info = m->info;
}
