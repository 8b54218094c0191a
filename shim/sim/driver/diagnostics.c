/* diagnostics.c -- profiler and core dump calls: settings are kept, but no profile is taken and no dump written. */
#define _GNU_SOURCE
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

SIM_API(cuProfilerStart, (void))
{
    SIM_ENTER_CONTEXT(cuProfilerStart, ctx);
    return CUDA_SUCCESS;
}

SIM_API(cuProfilerStop, (void))
{
    SIM_ENTER_CONTEXT(cuProfilerStop, ctx);
    return CUDA_SUCCESS;
}

enum {
    DUMP_ON_EXCEPTION = 1,
    DUMP_TRIGGER_HOST,
    DUMP_LIGHTWEIGHT,
    DUMP_USER_TRIGGER,
    DUMP_FILE,
    DUMP_PIPE,
    DUMP_FLAGS,
};

#define LONGEST_PATH 1024

struct settings {
    struct settings *next;
    unsigned long long context_id; /* 0: the whole process */
    bool yes[DUMP_USER_TRIGGER + 1];
    char path[2][LONGEST_PATH]; /* file, pipe */
    int flags;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct settings *of_process;

static void defaults(struct settings *s)
{
    char host[256] = "localhost";
    gethostname(host, sizeof(host) - 1);
    s->yes[DUMP_TRIGGER_HOST] = true;
    snprintf(s->path[0], LONGEST_PATH, "core.cuda.%s.%d", host, (int)getpid());
    snprintf(s->path[1], LONGEST_PATH, "corepipe.cuda.%s.%d", host, (int)getpid());
}

/* With the lock held.  A context has its process's settings until it gets its own; NULL: no memory for them. */
static struct settings *settings_of(const struct sim_context *ctx, bool own)
{
    if (!of_process) {
        of_process = calloc(1, sizeof(*of_process));
        if (!of_process)
            return NULL;
        defaults(of_process);
    }
    if (!ctx)
        return of_process;
    for (struct settings *s = of_process->next; s; s = s->next)
        if (s->context_id == ctx->id)
            return s;
    if (!own)
        return of_process;
    struct settings *s = malloc(sizeof(*s));
    if (s) {
        *s = *of_process;
        s->context_id = ctx->id;
        of_process->next = s;
    }
    return s;
}

static size_t bytes_of(int attribute)
{
    if (attribute >= DUMP_ON_EXCEPTION && attribute <= DUMP_USER_TRIGGER)
        return sizeof(bool);
    if (attribute == DUMP_FILE || attribute == DUMP_PIPE)
        return LONGEST_PATH;
    return attribute == DUMP_FLAGS ? sizeof(int) : 0;
}

static CUresult get_or_set(const struct sim_context *ctx, bool set, int attribute, void *value, size_t *size)
{
    size_t bytes = bytes_of(attribute);
    bool text = bytes == LONGEST_PATH;
    if (!size || !bytes)
        return CUDA_ERROR_INVALID_VALUE;
    if (!value) {
        *size = bytes;
        return CUDA_SUCCESS;
    }
    if (set && text ? strnlen(value, *size) >= LONGEST_PATH : !text && *size < bytes)
        return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&lock);
    struct settings *s = settings_of(ctx, set);
    CUresult result = s ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
    if (s && text) {
        char *path = s->path[attribute - DUMP_FILE];
        if (set)
            snprintf(path, LONGEST_PATH, "%.*s", (int)strnlen(value, *size), (const char *)value);
        else if (strlen(path) < *size)
            strcpy(value, path);
        else
            result = CUDA_ERROR_INVALID_VALUE;
    } else if (s) {
        void *kept = attribute == DUMP_FLAGS ? (void *)&s->flags : &s->yes[attribute];
        memcpy(set ? kept : value, set ? value : kept, bytes);
    }
    pthread_mutex_unlock(&lock);
    return result;
}

SIM_API(cuCoredumpGetAttribute, (int attribute, void *value, size_t *size))
{
    SIM_ENTER_CONTEXT(cuCoredumpGetAttribute, ctx);
    return get_or_set(ctx, false, attribute, value, size);
}

SIM_API(cuCoredumpSetAttribute, (int attribute, void *value, size_t *size))
{
    SIM_ENTER_CONTEXT(cuCoredumpSetAttribute, ctx);
    return get_or_set(ctx, true, attribute, value, size);
}

/* The settings of the whole process can be made before cuInit. */
SIM_API(cuCoredumpGetAttributeGlobal, (int attribute, void *value, size_t *size))
{
    return get_or_set(NULL, false, attribute, value, size);
}

SIM_API(cuCoredumpSetAttributeGlobal, (int attribute, void *value, size_t *size))
{
    return get_or_set(NULL, true, attribute, value, size);
}
