/* later.c -- linear memory freed in stream order stays charged until an event behind the free has passed. */
#include "grow.h"
#include "hooks.h"
#include "later.h"
#include "lock.h"

#define CU_EVENT_DISABLE_TIMING        2u
#define CU_STREAM_CAPTURE_MODE_RELAXED 2

struct release {
    CUevent event;
    CUcontext context; /* that it ends with */
    uint64_t bytes;
    int device;
    uint32_t kind;
};

static struct gs_lock lock;
static struct release *releases;
static uint32_t count; /* read without the lock, to see that there is nothing to do */
static uint32_t room;
static uint32_t holds; /* contexts that may be about to end */

int gs_later_release(const struct gs_entry *entry, CUstream stream)
{
    CUcontext context = NULL;
    CUevent event;
    int done = 0;

    REAL(cuCtxGetCurrent)(&context);
    if (REAL(cuEventCreate)(&event, CU_EVENT_DISABLE_TIMING))
        return 0;
    gs_lock(&lock);
    if (!REAL(cuEventRecord)(event, stream) &&
        (count < room || gs_grow(&releases, &room, sizeof *releases))) {
        releases[count] = (struct release){event, context, entry->bytes, entry->device, entry->kind};
        __atomic_store_n(&count, count + 1, __ATOMIC_RELAXED);
        done = 1;
    }
    gs_unlock(&lock);
    if (!done)
        REAL(cuEventDestroy_v2)(event);
    return done;
}

/* With the lock held. */
static void end(uint32_t index)
{
    gs_quota_release(releases[index].device, releases[index].kind, releases[index].bytes);
    releases[index] = releases[count - 1];
    __atomic_store_n(&count, count - 1, __ATOMIC_RELAXED);
}

void gs_later_collect(void)
{
    int mode = CU_STREAM_CAPTURE_MODE_RELAXED;

    if (!__atomic_load_n(&count, __ATOMIC_RELAXED))
        return;
    REAL(cuThreadExchangeStreamCaptureMode)(&mode); /* else a query breaks a capture that is going on */
    gs_lock(&lock);
    for (uint32_t i = 0; !holds && i < count;) {
        if (REAL(cuEventQuery)(releases[i].event) == CUDA_ERROR_NOT_READY) {
            i++;
            continue;
        }
        REAL(cuEventDestroy_v2)(releases[i].event);
        end(i);
    }
    gs_unlock(&lock);
    REAL(cuThreadExchangeStreamCaptureMode)(&mode);
}

void gs_later_hold(void)
{
    gs_lock(&lock);
    holds++;
    gs_unlock(&lock);
}

void gs_later_context_gone(CUcontext context)
{
    gs_lock(&lock);
    for (uint32_t i = 0; i < count;)
        if (releases[i].context == context)
            end(i);
        else
            i++;
    gs_unlock(&lock);
}

void gs_later_go_on(void)
{
    gs_lock(&lock);
    holds--;
    gs_unlock(&lock);
}

void gs_later_forget(void)
{
    lock.word = GS_LOCK_FREE;
    releases = NULL;
    count = room = holds = 0;
}
