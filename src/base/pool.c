/* SPDX-License-Identifier: MIT
 *
 * pool.c — worker threads and the one parallel loop of the library.
 *
 * Workers sleep between loops (no spinning: another library's threads share the cores). Tasks are
 * handed out one by one from an atomic counter, so uneven tasks balance themselves. A task must
 * write only what belongs to it: then results do not depend on who ran it. Workers handle no signal
 * but their own faults: the others are for the program's own threads.
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#include "base/util.h"

struct st_pool {
    int n_thread; /* the caller included */
    pthread_t *worker;
    int n_worker;
    pthread_mutex_t lock;
    pthread_cond_t work, done;
    uint64_t round; /* bumped for every loop */
    int n_busy;
    bool stop;
    void *scratch[STI_SCRATCH_KINDS];
    size_t scratch_bytes[STI_SCRATCH_KINDS];
    /* the loop at hand */
    sti_task_fn fn;
    void *ctx;
    int64_t n_task;
    atomic_int_fast64_t next;
};

int sti_n_processor(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 0;
    return n > 0 ? n : (int)sti_clamp(sysconf(_SC_NPROCESSORS_ONLN), 1, 1024);
}

struct worker_arg {
    st_pool *pool;
    int thread;
};

static void run_tasks(st_pool *p, int thread)
{
    for (;;) {
        int64_t task = atomic_fetch_add(&p->next, 1);
        if (task >= p->n_task)
            return;
        p->fn(p->ctx, task, thread);
    }
}

static void *worker_main(void *arg)
{
    st_pool *p = ((struct worker_arg *)arg)->pool;
    int thread = ((struct worker_arg *)arg)->thread;
    uint64_t seen = 0;
    sti_free(arg);
    pthread_mutex_lock(&p->lock);
    for (;;) {
        while (!p->stop && p->round == seen)
            pthread_cond_wait(&p->work, &p->lock);
        if (p->stop)
            break;
        seen = p->round;
        pthread_mutex_unlock(&p->lock);
        run_tasks(p, thread);
        pthread_mutex_lock(&p->lock);
        if (--p->n_busy == 0)
            pthread_cond_signal(&p->done);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* A thread inherits what its maker blocks: all signals but those of its own faults. */
static int create_deaf(pthread_t *thread, void *arg)
{
    static const int fault[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};
    sigset_t deaf, before;
    int code;
    sigfillset(&deaf);
    for (size_t i = 0; i < sizeof fault / sizeof *fault; i++)
        sigdelset(&deaf, fault[i]);
    pthread_sigmask(SIG_SETMASK, &deaf, &before);
    code = pthread_create(thread, NULL, worker_main, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return code;
}

static bool start_worker(st_pool *p, int thread)
{
    struct worker_arg *arg = sti_alloc(sizeof *arg);
    if (arg == NULL)
        return false;
    *arg = (struct worker_arg){p, thread};
    if (create_deaf(&p->worker[p->n_worker], arg) != 0) {
        sti_free(arg);
        return false;
    }
    p->n_worker++;
    return true;
}

st_status st_pool_create(int n_thread, st_pool **pool, st_error *err)
{
    st_pool *p;
    *pool = NULL;
    if (n_thread < 0 || n_thread > 1024)
        return sti_fail(err, ST_ERR_ARG, -1, "n_thread is %d, must be 0..1024", n_thread);
    if (n_thread == 0)
        n_thread = (int)sti_min(sti_n_processor(), 1024);
    p = sti_calloc(sizeof *p);
    if (p == NULL)
        return sti_fail_mem(err, sizeof *p);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->work, NULL);
    pthread_cond_init(&p->done, NULL);
    p->n_thread = n_thread;
    p->worker = sti_calloc((size_t)n_thread * sizeof *p->worker);
    if (p->worker == NULL) {
        st_pool_free(p);
        return sti_fail_mem(err, (size_t)n_thread * sizeof *p->worker);
    }
    for (int t = 1; t < n_thread; t++) {
        if (!start_worker(p, t)) {
            st_pool_free(p);
            return sti_fail(err, ST_ERR_IO, t, "thread %d of %d could not be started", t, n_thread);
        }
    }
    *pool = p;
    return ST_OK;
}

void st_pool_free(st_pool *p)
{
    if (p == NULL)
        return;
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->lock);
    for (int i = 0; i < p->n_worker; i++)
        pthread_join(p->worker[i], NULL);
    pthread_cond_destroy(&p->done);
    pthread_cond_destroy(&p->work);
    pthread_mutex_destroy(&p->lock);
    for (int i = 0; i < STI_SCRATCH_KINDS; i++)
        sti_large_free(p->scratch[i], p->scratch_bytes[i]);
    sti_free(p->worker);
    sti_free(p);
}

void *sti_pool_take(st_pool *p, int kind, size_t bytes)
{
    if (p == NULL)
        return sti_alloc(bytes);
    if (!sti_large_grow(&p->scratch[kind], &p->scratch_bytes[kind], bytes + 1))
        return NULL;
    return p->scratch[kind];
}

void sti_pool_give(st_pool *p, void *x)
{
    if (p == NULL)
        sti_free(x);
}

int st_pool_size(const st_pool *p)
{
    return p == NULL ? 1 : p->n_thread;
}

void sti_pool_run(st_pool *p, int64_t n_task, sti_task_fn fn, void *ctx)
{
    if (p == NULL || p->n_worker == 0 || n_task <= 1) {
        for (int64_t task = 0; task < n_task; task++)
            fn(ctx, task, 0);
        return;
    }
    pthread_mutex_lock(&p->lock);
    p->fn = fn;
    p->ctx = ctx;
    p->n_task = n_task;
    atomic_store(&p->next, 0);
    p->n_busy = p->n_worker;
    p->round++;
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->lock);
    run_tasks(p, 0);
    pthread_mutex_lock(&p->lock);
    while (p->n_busy > 0)
        pthread_cond_wait(&p->done, &p->lock);
    pthread_mutex_unlock(&p->lock);
}
