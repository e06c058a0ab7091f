/* SPDX-License-Identifier: MIT
 *
 * plugin.c — the shared object libggml-sparsetrace.so: the entry that ggml looks for, its functions
 * found in the ggml that loads us, and settings from the variable SPARSETRACE.
 *
 * The host may have loaded ggml privately (as Python's ctypes does), so its symbols are looked up
 * first in the global scope and then in each loaded object whose name contains "libggml-base" or
 * "libllama".
 */
#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ggml-backend-impl.h>

#include "base/util.h"
#include "ggml/host.h"
#include "sparsetrace/ggml.h"

static struct {
    ggml_backend_buffer_type_t (*cpu_buffer_type)(void);
    const struct ggml_type_traits *(*type_traits)(enum ggml_type type);
    int (*graph_size)(struct ggml_cgraph *graph);
    struct ggml_tensor *(*graph_node)(struct ggml_cgraph *graph, int i);
} host;

struct search {
    const char *symbol;
    void *found;
};

static int search_object(struct dl_phdr_info *info, size_t size, void *ctx)
{
    struct search *s = ctx;
    void *handle;
    (void)size;
    if (strstr(info->dlpi_name, "libggml-base") == NULL &&
        strstr(info->dlpi_name, "libllama") == NULL)
        return 0;
    handle = dlopen(info->dlpi_name, RTLD_LAZY | RTLD_NOLOAD);
    if (handle != NULL) {
        s->found = dlsym(handle, s->symbol);
        dlclose(handle);
    }
    return s->found != NULL;
}

static bool find(const char *symbol, void *fn)
{
    struct search s = {symbol, dlsym(RTLD_DEFAULT, symbol)};
    if (s.found == NULL)
        dl_iterate_phdr(search_object, &s);
    memcpy(fn, &s.found, sizeof s.found);
    return s.found != NULL;
}

ggml_backend_buffer_type_t sti_host_cpu_buffer_type(void)
{
    return host.cpu_buffer_type();
}

const struct ggml_type_traits *sti_host_type_traits(enum ggml_type type)
{
    return host.type_traits(type);
}

int sti_host_graph_size(struct ggml_cgraph *graph)
{
    return host.graph_size(graph);
}

struct ggml_tensor *sti_host_graph_node(struct ggml_cgraph *graph, int i)
{
    return host.graph_node(graph, i);
}

/* ---- settings -------------------------------------------------------------------------------- */

/* One "name=value". False: not understood. */
static bool set_option(st_ggml_params *p, const char *name, const char *value)
{
    char *end;
    long number = strtol(value, &end, 10);
    bool whole = *value != '\0' && *end == '\0' && number >= 0 && number <= INT32_MAX;
    if (strcmp(name, "select") == 0)
        return st_select_method_parse(value, &p->select.method, NULL) == ST_OK;
    if (strcmp(name, "mass") == 0) {
        p->select.mass = strtof(value, &end);
        return *value != '\0' && *end == '\0';
    }
    if (strcmp(name, "k") == 0)
        p->select.k = (double)number;
    else if (strcmp(name, "block-q") == 0)
        p->select.bq = (int)number;
    else if (strcmp(name, "block-k") == 0)
        p->select.bk = (int)number;
    else if (strcmp(name, "exact-below") == 0)
        p->exact_below = number;
    else if (strcmp(name, "exact") == 0)
        p->exact = number != 0;
    else if (strcmp(name, "pooled") == 0)
        p->select.pooled = number != 0;
    else if (strcmp(name, "grow-tok") == 0)
        p->select.grow_tok = number;
    else if (strcmp(name, "linear") == 0)
        p->linear = number != 0;
    else
        return false;
    return whole;
}

/* SPARSETRACE="name=value ...". An error leaves the backend out, with the reason on stderr: a
 * plug-in has no other way to speak before ggml knows it. */
static bool settings_from_environment(void)
{
    st_ggml_params p = st_ggml_params_default();
    const char *text = getenv("SPARSETRACE");
    char *copy = text != NULL ? strdup(text) : NULL, *rest = copy, *word;
    st_error err;
    bool ok = true;
    while (ok && copy != NULL && (word = strtok_r(rest, " ,", &rest)) != NULL) {
        char *eq = strchr(word, '=');
        if (eq != NULL)
            *eq = '\0';
        ok = eq != NULL && set_option(&p, word, eq + 1);
        if (!ok && eq != NULL)
            *eq = '=';
        if (!ok)
            fprintf(stderr,
                    "sparsetrace: SPARSETRACE: cannot use \"%s\" (k, mass, select, block-q, "
                    "block-k, pooled, grow-tok, exact-below, exact, linear)\n",
                    word);
    }
    free(copy);
    if (ok && st_ggml_configure(&p, NULL, &err) != ST_OK) {
        fprintf(stderr, "sparsetrace: SPARSETRACE: %s\n", err.message);
        ok = false;
    }
    return ok;
}

ST_API ggml_backend_reg_t ggml_backend_init(void);

ggml_backend_reg_t ggml_backend_init(void)
{
    if (!find("ggml_backend_cpu_buffer_type", &host.cpu_buffer_type) ||
        !find("ggml_get_type_traits", &host.type_traits) ||
        !find("ggml_graph_n_nodes", &host.graph_size) ||
        !find("ggml_graph_node", &host.graph_node) || !settings_from_environment())
        return NULL;
    return st_ggml_reg();
}
