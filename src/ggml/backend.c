/* SPDX-License-Identifier: MIT
 *
 * backend.c — the tables of functions by which ggml knows a backend. Modelled on the interface that
 * ggml-backend-impl.h documents (API version 2); everything that thinks is in graph.c.
 */
#include <string.h>

#include <ggml-backend-impl.h>
#include <ggml-backend.h>

#include "base/util.h"
#include "ggml/attn_op.h"
#include "ggml/graph.h"
#include "ggml/host.h"
#include "ggml/linear.h"

/* ---- backend: one per llama_context ---------------------------------------------------------- */

static const char *backend_name(ggml_backend_t backend)
{
    (void)backend;
    return "sparsetrace";
}

static void backend_free(ggml_backend_t backend)
{
    sti_graph_free(backend->context);
    sti_free(backend);
}

static enum ggml_status backend_compute(ggml_backend_t backend, struct ggml_cgraph *graph)
{
    sti_settings s = sti_settings_get();
    st_error err = {.status = ST_OK};
    for (int i = 0; i < sti_host_graph_size(graph); i++) {
        struct ggml_tensor *node = sti_host_graph_node(graph, i);
        if ((node->op != GGML_OP_FLASH_ATTN_EXT && node->op != GGML_OP_MUL_MAT) ||
            (node->flags & GGML_TENSOR_FLAG_COMPUTE) == 0)
            continue;
        if (sti_graph_node(backend->context, node, &s, &err) != ST_OK) {
            sti_note_error(&err);
            return err.status == ST_ERR_MEM         ? GGML_STATUS_ALLOC_FAILED
                   : err.status == ST_ERR_CANCELLED ? GGML_STATUS_ABORTED
                                                    : GGML_STATUS_FAILED;
        }
    }
    return GGML_STATUS_SUCCESS;
}

static void backend_set_n_threads(ggml_backend_t backend, int n_thread)
{
    sti_graph_set_threads(backend->context, n_thread,
                          NULL); /* on failure it goes on with those it has */
}

static ggml_guid_t backend_guid(void)
{
    static ggml_guid guid = {0x73, 0x70, 0x61, 0x72, 0x73, 0x65, 0x74, 0x72,
                             0x61, 0x63, 0x65, 0x2d, 0x61, 0x74, 0x74, 0x6e};
    return &guid;
}

/* ---- device: one ----------------------------------------------------------------------------- */

static const char *device_name(ggml_backend_dev_t dev)
{
    (void)dev;
    return "sparsetrace";
}

static const char *device_description(ggml_backend_dev_t dev)
{
    (void)dev;
    return "block-sparse attention that records what it reads";
}

static void device_memory(ggml_backend_dev_t dev, size_t *free, size_t *total)
{
    (void)dev;
    *free = *total = 0;
}

static enum ggml_backend_dev_type device_type(ggml_backend_dev_t dev)
{
    (void)dev;
    return GGML_BACKEND_DEVICE_TYPE_ACCEL;
}

static void device_props(ggml_backend_dev_t dev, struct ggml_backend_dev_props *props)
{
    memset(props, 0, sizeof *props);
    props->name = device_name(dev);
    props->description = device_description(dev);
    props->type = device_type(dev);
}

static ggml_backend_t device_init(ggml_backend_dev_t dev, const char *params)
{
    struct ggml_backend *backend = sti_calloc(sizeof *backend);
    (void)params;
    if (backend == NULL)
        return NULL;
    backend->guid = backend_guid();
    backend->iface.get_name = backend_name;
    backend->iface.free = backend_free;
    backend->iface.graph_compute = backend_compute;
    backend->device = dev;
    backend->context = sti_graph_new();
    if (backend->context == NULL) {
        sti_free(backend);
        return NULL;
    }
    return backend;
}

static ggml_backend_buffer_type_t device_buffer_type(ggml_backend_dev_t dev)
{
    (void)dev;
    return sti_host_cpu_buffer_type();
}

static bool device_supports_op(ggml_backend_dev_t dev, const struct ggml_tensor *op)
{
    st_ggml_params p = sti_settings_get().p;
    (void)dev;
    switch (op->op) {
    case GGML_OP_NONE:
    case GGML_OP_RESHAPE:
    case GGML_OP_VIEW:
    case GGML_OP_PERMUTE:
    case GGML_OP_TRANSPOSE: return true;
    case GGML_OP_FLASH_ATTN_EXT: return p.enabled && sti_op_supported(op);
    case GGML_OP_MUL_MAT: return p.enabled && p.linear && sti_linear_supported(op);
    default: return false;
    }
}

static bool device_supports_buft(ggml_backend_dev_t dev, ggml_backend_buffer_type_t buft)
{
    (void)dev;
    return buft->iface.is_host != NULL && buft->iface.is_host(buft);
}

/* ---- registry entry -------------------------------------------------------------------------- */

static const char *reg_name(ggml_backend_reg_t reg)
{
    (void)reg;
    return "sparsetrace";
}

static size_t reg_device_count(ggml_backend_reg_t reg)
{
    (void)reg;
    return 1;
}

static ggml_backend_dev_t reg_device(ggml_backend_reg_t reg, size_t index)
{
    static struct ggml_backend_device device;
    if (index != 0)
        return NULL;
    device.iface = (struct ggml_backend_device_i){.get_name = device_name,
                                                  .get_description = device_description,
                                                  .get_memory = device_memory,
                                                  .get_type = device_type,
                                                  .get_props = device_props,
                                                  .init_backend = device_init,
                                                  .get_buffer_type = device_buffer_type,
                                                  .supports_op = device_supports_op,
                                                  .supports_buft = device_supports_buft};
    device.reg = reg;
    return &device;
}

/* Functions that a program which only has the registry can ask for by name. */
static void *reg_proc_address(ggml_backend_reg_t reg, const char *name)
{
    static const struct {
        const char *name;
        void (*fn)(void);
    } table[] = {
        {"ggml_backend_set_n_threads", (void (*)(void))backend_set_n_threads},
        {"st_ggml_params_default", (void (*)(void))st_ggml_params_default},
        {"st_ggml_configure", (void (*)(void))st_ggml_configure},
        {"st_ggml_linear", (void (*)(void))st_ggml_linear},
        {"st_ggml_take_stats", (void (*)(void))st_ggml_take_stats},
        {"st_ggml_take_error", (void (*)(void))st_ggml_take_error},
    };
    (void)reg;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strcmp(name, table[i].name) == 0)
            return (void *)table[i].fn;
    return NULL;
}

void *st_ggml_reg(void)
{
    static struct ggml_backend_reg reg = {
        .api_version = GGML_BACKEND_API_VERSION,
        .iface = {.get_name = reg_name,
                  .get_device_count = reg_device_count,
                  .get_device = reg_device,
                  .get_proc_address = reg_proc_address},
    };
    return &reg;
}
