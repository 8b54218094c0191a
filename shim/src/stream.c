/* stream.c -- the contexts and streams that this process launches into, and each thread's short way to them.
 *
 * Nothing here is ever freed: a thread may look at a stream while another destroys it, so what is no longer used is
 * kept for the next one. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "device.h"
#include "meter.h"

#define STREAM_BUCKETS 256
#define TAKEN_NS       20000 /* between two looks whether somebody still works on a context */
#define TAKEN_MOST     10000

static const uint32_t unbound_cap; /* not "no cap": leads to the slow path */
static const uint32_t no_cap = GS_NO_CAP_PPM;

static struct gs_stream no_stream;

__thread struct gs_thread gs_thread = {.cap_ppm = &unbound_cap, .stream = &no_stream};
struct gs_meter_context *gs_meter_contexts;

static pthread_mutex_t tables = PTHREAD_MUTEX_INITIALIZER; /* no driver call is made while holding it */
static struct gs_stream *buckets[STREAM_BUCKETS];
static struct gs_meter_device devices[GS_MAX_DEVICES];

void gs_meter_rebind(void)
{
    gs_thread.cap_ppm = &unbound_cap;
    gs_thread.context = NULL;
    gs_thread.stream = &no_stream;
}

void gs_meter_forget(void)
{
    pthread_mutex_t fresh = PTHREAD_MUTEX_INITIALIZER;

    tables = fresh;
    memset(buckets, 0, sizeof(buckets));
    memset(devices, 0, sizeof(devices));
    gs_meter_contexts = NULL;
    gs_captures = 0;
    gs_meter_rebind();
    gs_busy_forget();
}

static struct gs_meter_device *device_of(const struct gs_region *region, uint32_t index)
{
    struct gs_meter_device *device = &devices[index];

    pthread_mutex_lock(&tables);
    if (device->limits == NULL) {
        *device = (struct gs_meter_device){
            .spent_ns = &region->usage->device[index].spent_ns,
            .line = {.seq = 1}, /* odd: none yet */
            .index = index,
            .busy = 1,
            .region = region,
        };
        gs_slices_init(&device->slices);
        __atomic_store_n(&device->limits, &region->limits->device[index], __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&tables);
    return device;
}

static struct gs_meter_context *context_of(CUcontext handle, struct gs_meter_device *device)
{
    struct gs_meter_context *context, *unused = NULL;

    pthread_mutex_lock(&tables);
    for (context = gs_meter_contexts; context != NULL && context->handle != handle; context = context->next)
        if (context->handle == NULL)
            unused = context;
    if (context == NULL && unused != NULL) {
        context = unused;
    } else if (context == NULL) {
        context = calloc(1, sizeof(*context));
        if (context != NULL) {
            context->next = gs_meter_contexts;
            __atomic_store_n(&gs_meter_contexts, context, __ATOMIC_RELEASE);
        }
    }
    if (context != NULL && context->handle == NULL) {
        context->device = device;
        context->lightness = 0;
        __atomic_store_n(&context->handle, handle, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&tables);
    return context;
}

struct gs_meter_context *gs_meter_current(void)
{
    struct gs_thread *self = &gs_thread;
    CUcontext handle = NULL;

    if (self->cap_ppm != &unbound_cap)
        return self->context;
    const struct gs_region *region = gs_region();
    if (REAL(cuCtxGetCurrent)(&handle) != CUDA_SUCCESS || handle == NULL)
        return NULL;
    int index = region != NULL ? gs_current_device() : GS_FOREIGN_DEVICE;
    if (index == GS_NO_DEVICE)
        return NULL;
    if (index < 0) {
        self->cap_ppm = &no_cap;
        return NULL;
    }
    self->context = context_of(handle, device_of(region, (uint32_t)index));
    self->cap_ppm = self->context != NULL ? &region->limits->device[index].cap_ppm : &no_cap;
    return self->context;
}

/* The context that a stream belongs to, which need not be the current one. */
static struct gs_meter_context *context_of_stream(CUstream handle)
{
    struct gs_meter_context *current = gs_meter_current();
    CUcontext owner = NULL, popped;

    if (current == NULL || handle == CU_STREAM_LEGACY || handle == CU_STREAM_PER_THREAD ||
        REAL(cuStreamGetCtx)(handle, &owner) != CUDA_SUCCESS || owner == NULL || owner == current->handle)
        return current;
    if (REAL(cuCtxPushCurrent_v2)(owner) != CUDA_SUCCESS)
        return current;
    int index = gs_current_device();
    REAL(cuCtxPopCurrent_v2)(&popped);
    return index < 0 ? NULL : context_of(owner, device_of(gs_region(), (uint32_t)index));
}

static bool is_stream(const struct gs_stream *stream, CUstream handle, const struct gs_meter_context *context)
{
    if (stream->handle != handle)
        return false;
    if (handle != CU_STREAM_LEGACY && handle != CU_STREAM_PER_THREAD)
        return true;
    return stream->context == context && (stream->owner == NULL || stream->owner == &gs_thread);
}

static struct gs_stream **bucket_of(CUstream handle)
{
    return &buckets[((uintptr_t)handle ^ (uintptr_t)handle >> 9) % STREAM_BUCKETS];
}

static struct gs_stream *look_up(CUstream handle, const struct gs_meter_context *context)
{
    struct gs_stream *stream = *bucket_of(handle);

    while (stream != NULL && !is_stream(stream, handle, context))
        stream = stream->next_bucket;
    return stream;
}

static void unlink_stream(struct gs_stream *stream)
{
    struct gs_stream **link = bucket_of(stream->handle);

    while (*link != NULL && *link != stream)
        link = &(*link)->next_bucket;
    if (*link == stream)
        *link = stream->next_bucket;
}

/* A stream that was destroyed, and whose windows are through. */
static struct gs_stream *reusable(struct gs_meter_context *context)
{
    struct gs_stream *stream = context->streams;

    while (stream != NULL && (stream->handle != NULL || stream->head != stream->tail))
        stream = stream->next;
    return stream;
}

static struct gs_stream *make(CUstream handle, struct gs_meter_context *context)
{
    struct gs_stream *stream = reusable(context);

    if (stream == NULL) {
        stream = calloc(1, sizeof(*stream));
        if (stream == NULL)
            return NULL;
        stream->context = context;
        stream->next = context->streams;
        __atomic_store_n(&context->streams, stream, __ATOMIC_RELEASE);
    }
    stream->device = context->device;
    __atomic_store_n(&stream->handle, handle, __ATOMIC_RELAXED);
    stream->owner = handle == CU_STREAM_PER_THREAD ? &gs_thread : NULL;
    stream->idle = true;
    stream->apart = false;
    stream->guesses = 0;
    stream->trust = GS_FIRST_TRUST;
    stream->next_bucket = *bucket_of(handle);
    *bucket_of(handle) = stream;
    return stream;
}

struct gs_stream *gs_stream_find(CUstream handle)
{
    struct gs_thread *self = &gs_thread;
    struct gs_meter_context *context = gs_meter_current();

    if (context == NULL || __atomic_load_n(self->cap_ppm, __ATOMIC_RELAXED) == GS_NO_CAP_PPM)
        return NULL;
    if (self->stream->handle == handle)
        return self->stream;
    pthread_mutex_lock(&tables);
    struct gs_stream *stream = look_up(handle, context);
    pthread_mutex_unlock(&tables);
    if (stream == NULL) {
        context = context_of_stream(handle);
        if (context == NULL)
            return NULL;
        pthread_mutex_lock(&tables);
        stream = look_up(handle, context);
        if (stream == NULL)
            stream = make(handle, context);
        pthread_mutex_unlock(&tables);
    }
    if (stream != NULL)
        self->stream = stream;
    return stream;
}

struct gs_stream *gs_stream_known(CUstream handle)
{
    struct gs_meter_context *context = gs_meter_current();

    if (context == NULL || gs_thread.stream->handle == handle)
        return context == NULL ? NULL : gs_thread.stream;
    pthread_mutex_lock(&tables);
    struct gs_stream *stream = look_up(handle, context);
    pthread_mutex_unlock(&tables);
    return stream;
}

/* A process that ends without having waited for its work gives back what it has prepaid and not used. */
static __attribute__((destructor)) void at_exit(void)
{
    for (struct gs_meter_context *context = gs_meter_contexts; context != NULL; context = context->next)
        for (struct gs_stream *stream = context->streams; stream != NULL; stream = stream->next)
            gs_meter_give_up(stream);
}

void gs_meter_stream_gone(CUstream handle)
{
    struct gs_stream *stream;

    pthread_mutex_lock(&tables);
    stream = handle > CU_STREAM_PER_THREAD ? look_up(handle, NULL) : NULL;
    pthread_mutex_unlock(&tables);
    if (stream == NULL)
        return;
    gs_meter_mark(stream); /* its events outlive it: what is in flight will still be measured */
    gs_meter_give_up(stream);
    pthread_mutex_lock(&tables);
    unlink_stream(stream);
    __atomic_store_n(&stream->handle, NULL, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&tables);
}

/* Whoever works on it does not wait for the GPU, and is through in a moment; should it not be, this goes on all the same. */
static void take(struct gs_meter_context *context)
{
    const struct timespec moment = {.tv_nsec = TAKEN_NS};

    for (int tries = 0; __atomic_exchange_n(&context->taken, true, __ATOMIC_ACQUIRE) && tries < TAKEN_MOST;
         tries++)
        clock_nanosleep(CLOCK_MONOTONIC, 0, &moment, NULL);
}

void gs_meter_context_gone(CUcontext handle)
{
    struct gs_meter_context *context = __atomic_load_n(&gs_meter_contexts, __ATOMIC_ACQUIRE);

    while (context != NULL && context->handle != handle)
        context = context->next;
    if (context == NULL || handle == NULL)
        return;
    take(context); /* others may be in the middle of its windows */
    pthread_mutex_lock(&tables);
    for (struct gs_stream *stream = context->streams; stream != NULL; stream = stream->next)
        unlink_stream(stream);
    gs_meter_abandon(context);
    __atomic_store_n(&context->handle, NULL, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&tables);
    __atomic_store_n(&context->taken, false, __ATOMIC_RELEASE);
    gs_meter_rebind();
}

CUevent gs_event_take(struct gs_meter_context *context)
{
    CUevent event = NULL;
    CUcontext popped;
    bool foreign = gs_thread.context != context;

    if (context->spare_count > 0)
        return context->spare[--context->spare_count];
    if (foreign && REAL(cuCtxPushCurrent_v2)(context->handle) != CUDA_SUCCESS)
        return NULL;
    if (REAL(cuEventCreate)(&event, CU_EVENT_DEFAULT) != CUDA_SUCCESS)
        event = NULL;
    if (foreign)
        REAL(cuCtxPopCurrent_v2)(&popped);
    return event;
}

void gs_event_give(struct gs_meter_context *context, CUevent event)
{
    if (event == NULL)
        return;
    if (context->spare_count < GS_SPARE_EVENTS)
        context->spare[context->spare_count++] = event;
    else
        REAL(cuEventDestroy_v2)(event);
}
