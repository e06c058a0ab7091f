/* SPDX-License-Identifier: MIT
 *
 * test_pool.c — the parallel loop: every task once, by a thread of the pool, done before the call
 * returns; for any number of threads and tasks, again and again, and loops within loops on other
 * pools.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#include "base/util.h"
#include "check.h"

#define TASKS_MAX 1000
#define THREADS_MAX 16

/* What one loop did. The counts of a task are plain ints: the loop's end must make them visible. */
struct loop {
    int runs[TASKS_MAX];
    int64_t n_task;
    int n_thread;
    pthread_t caller;
    atomic_int in_use[THREADS_MAX]; /* tasks that a thread number is running just now */
    atomic_int strays;              /* tasks, threads out of range; threads used twice at a time */
};

static void note_task(void *ctx, int64_t task, int thread)
{
    struct loop *l = ctx;
    if (task < 0 || task >= l->n_task || thread < 0 || thread >= l->n_thread) {
        atomic_fetch_add(&l->strays, 1);
        return;
    }
    if (atomic_fetch_add(&l->in_use[thread], 1) != 0)
        atomic_fetch_add(&l->strays, 1);
    if ((thread == 0) != (pthread_equal(pthread_self(), l->caller) != 0))
        atomic_fetch_add(&l->strays, 1);
    l->runs[task]++;
    for (volatile int64_t i = 0; i < task % 7 * 50; i++) /* uneven work */
        ;
    atomic_fetch_sub(&l->in_use[thread], 1);
}

/* Whether a loop over n_task tasks ran each of them once. */
static bool runs_once(st_pool *pool, int64_t n_task)
{
    static struct loop l;
    bool ok;
    memset(&l, 0, sizeof l);
    l.n_task = n_task;
    l.n_thread = st_pool_size(pool);
    l.caller = pthread_self();
    sti_pool_run(pool, n_task, note_task, &l);
    ok = atomic_load(&l.strays) == 0;
    for (int64_t i = 0; i < TASKS_MAX; i++)
        ok = ok && l.runs[i] == (i < n_task);
    return ok;
}

static void test_each_task_once(void)
{
    static const int n_thread[] = {1, 2, 3, 5, 8, THREADS_MAX};
    static const int64_t n_task[] = {0, 1, 2, 3, 7, 8, 9, 64, TASKS_MAX};
    for (size_t t = 0; t < sizeof n_thread / sizeof *n_thread; t++) {
        st_pool *pool;
        CHECK_STATUS(st_pool_create(n_thread[t], &pool, NULL), ST_OK);
        CHECK_EQ(st_pool_size(pool), n_thread[t]);
        for (size_t i = 0; i < sizeof n_task / sizeof *n_task; i++)
            CHECK(runs_once(pool, n_task[i]));
        st_pool_free(pool);
    }
    for (size_t i = 0; i < sizeof n_task / sizeof *n_task; i++)
        CHECK(runs_once(NULL, n_task[i]));
}

/* One pool, many loops, most of them shorter than the pool is wide. */
static void test_reuse(void)
{
    st_pool *pool;
    int wrong = 0;
    CHECK_STATUS(st_pool_create(4, &pool, NULL), ST_OK);
    for (int i = 0; i < 3000; i++)
        wrong += !runs_once(pool, i % 11);
    CHECK_EQ(wrong, 0);
    st_pool_free(pool);
}

static void note_order(void *ctx, int64_t task, int thread)
{
    int64_t *next = ctx;
    *next = thread == 0 && task == *next ? task + 1 : -1;
}

/* Without a pool the caller does the tasks one after another. */
static void test_alone(void)
{
    st_pool *one;
    int64_t next = 0;
    sti_pool_run(NULL, 100, note_order, &next);
    CHECK_EQ(next, 100);
    next = 0;
    CHECK_STATUS(st_pool_create(1, &one, NULL), ST_OK);
    sti_pool_run(one, 100, note_order, &next);
    CHECK_EQ(next, 100);
    st_pool_free(one);
}

struct meeting {
    atomic_int arrived;
    int expected;
    atomic_int missed;
};

/* Waits until all have come; gives up long after they should have. */
static void meet(void *ctx, int64_t task, int thread)
{
    struct meeting *m = ctx;
    time_t start = time(NULL);
    (void)task;
    (void)thread;
    atomic_fetch_add(&m->arrived, 1);
    while (atomic_load(&m->arrived) < m->expected) {
        if (time(NULL) - start > 30) {
            atomic_fetch_add(&m->missed, 1);
            return;
        }
        usleep(100);
    }
}

/* As many tasks as threads can all be at work at the same time. */
static void test_all_threads_work(void)
{
    struct meeting m = {.expected = 6};
    st_pool *pool;
    CHECK_STATUS(st_pool_create(6, &pool, NULL), ST_OK);
    sti_pool_run(pool, 6, meet, &m);
    CHECK_EQ(atomic_load(&m.missed), 0);
    st_pool_free(pool);
}

struct nest {
    st_pool *inner[4];
    atomic_int sum;
};

static void add_one(void *ctx, int64_t task, int thread)
{
    (void)task;
    (void)thread;
    atomic_fetch_add((atomic_int *)ctx, 1);
}

static void run_inner(void *ctx, int64_t task, int thread)
{
    struct nest *n = ctx;
    (void)thread;
    sti_pool_run(NULL, 5, add_one, &n->sum);
    sti_pool_run(n->inner[task], 5, add_one, &n->sum);
}

/* One call at a time per pool; a task may loop on a pool of its own, or on none. */
static void test_loops_within_loops(void)
{
    struct nest n = {.sum = 0};
    st_pool *outer;
    CHECK_STATUS(st_pool_create(3, &outer, NULL), ST_OK);
    for (int i = 0; i < 4; i++)
        CHECK_STATUS(st_pool_create(2, &n.inner[i], NULL), ST_OK);
    sti_pool_run(outer, 4, run_inner, &n);
    CHECK_EQ(atomic_load(&n.sum), 4 * 10);
    for (int i = 0; i < 4; i++)
        st_pool_free(n.inner[i]);
    st_pool_free(outer);
}

static void *own_loops(void *arg)
{
    st_pool *pool;
    atomic_int sum = 0;
    (void)arg;
    if (st_pool_create(3, &pool, NULL) != ST_OK)
        return NULL;
    for (int i = 0; i < 300; i++)
        sti_pool_run(pool, 10, add_one, &sum);
    st_pool_free(pool);
    return atomic_load(&sum) == 3000 ? arg : NULL;
}

/* Separate pools do not know of each other. */
static void test_two_callers(void)
{
    pthread_t thread[2];
    char yes = 1;
    for (int i = 0; i < 2; i++)
        CHECK_EQ(pthread_create(&thread[i], NULL, own_loops, &yes), 0);
    for (int i = 0; i < 2; i++) {
        void *result = NULL;
        pthread_join(thread[i], &result);
        CHECK(result == &yes);
    }
}

static void test_create(void)
{
    static const int bad[] = {-1, -1000000, 1025, 1 << 30};
    st_error err;
    st_pool *pool;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char number[16];
        pool = (st_pool *)&err;
        CHECK_STATUS(st_pool_create(bad[i], &pool, &err), ST_ERR_ARG);
        snprintf(number, sizeof number, "%d", bad[i]);
        CHECK(pool == NULL && err.status == ST_ERR_ARG);
        CHECK(strstr(err.message, "n_thread") != NULL && strstr(err.message, number) != NULL);
        CHECK_STATUS(st_pool_create(bad[i], &pool, NULL), ST_ERR_ARG);
    }
    CHECK_STATUS(st_pool_create(0, &pool, NULL), ST_OK); /* one per processor */
    CHECK(st_pool_size(pool) >= 1 && st_pool_size(pool) <= sysconf(_SC_NPROCESSORS_ONLN));
    CHECK(runs_once(pool, 1) && runs_once(pool, 50));
    st_pool_free(pool);
    st_pool_free(NULL);
    CHECK_EQ(st_pool_size(NULL), 1);
}

int main(void)
{
    test_create();
    test_each_task_once();
    test_reuse();
    test_alone();
    test_all_threads_work();
    test_loops_within_loops();
    test_two_callers();
    return check_report();
}
