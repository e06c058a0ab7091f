/* SPDX-License-Identifier: MIT
 *
 * llama_log.c — libllama explains its failures only in its log: keep the first error line (the
 * cause; those after it say what failed in turn) for our own messages, and print nothing unless
 * asked.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "engine/engine_int.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char first_error[320], taken[320];
static bool loud;

static void receive(enum ggml_log_level level, const char *text, void *ctx)
{
    (void)ctx;
    pthread_mutex_lock(&lock);
    if (level == GGML_LOG_LEVEL_ERROR && first_error[0] == '\0') {
        const char *reason = strstr(text, ": ");
        snprintf(first_error, sizeof first_error, "%s", reason != NULL ? reason + 2 : text);
        first_error[strcspn(first_error, "\n")] = '\0';
    }
    if (loud)
        fputs(text, stderr);
    pthread_mutex_unlock(&lock);
}

void sti_llama_log(bool verbose)
{
    pthread_mutex_lock(&lock);
    loud = verbose;
    first_error[0] = '\0';
    pthread_mutex_unlock(&lock);
    llama_log_set(receive, NULL);
}

const char *sti_llama_error(const char *otherwise)
{
    pthread_mutex_lock(&lock);
    snprintf(taken, sizeof taken, "%s", first_error[0] != '\0' ? first_error : otherwise);
    first_error[0] = '\0';
    pthread_mutex_unlock(&lock);
    return taken;
}
