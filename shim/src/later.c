/* later.c -- linear memory freed in stream order stays charged until an event behind the free has passed. */
#include "grow.h"
#include "hooks.h"
#include "later.h"
#include "lock.h"

#define CU_EVENT_DISABLE_TIMING        2u
#define CU_STREAM_CAPTURE_MODE_RELAXED 2

struct release {
    CUevent event;
    uint64_t bytes;
    int device;
    uint32_t kind;
};

static struct gs_lock lock;
static struct release *releases;
static uint32_t count; /* read without the lock, to see that there is nothing to do */
static uint32_t room;

int gs_later_release(const struct gs_entry *entry, CUstream stream)
{
    CUevent event;
    int done = 0;

    if (REAL(cuEventCreate)(&event, CU_EVENT_DISABLE_TIMING))
        return 0;
    gs_lock(&lock);
    if (!REAL(cuEventRecord)(event, stream) &&
        (count < room || gs_grow(&releases, &room, sizeof *releases))) {
        releases[count] = (struct release){event, entry->bytes, entry->device, entry->kind};
        __atomic_store_n(&count, count + 1, __ATOMIC_RELAXED);
        done = 1;
    }
    gs_unlock(&lock);
    if (!done)
        REAL(cuEventDestroy_v2)(event);
    return done;
}

void gs_later_collect(void)
{
    int mode = CU_STREAM_CAPTURE_MODE_RELAXED;

    if (!__atomic_load_n(&count, __ATOMIC_RELAXED))
        return;
    REAL(cuThreadExchangeStreamCaptureMode)(&mode); /* else a query breaks a capture that is going on */
    gs_lock(&lock);
    for (uint32_t i = 0; i < count;) {
        struct release release = releases[i];

        if (REAL(cuEventQuery)(release.event) == CUDA_ERROR_NOT_READY) {
            i++;
            continue;
        }
        REAL(cuEventDestroy_v2)(release.event); /* passed, or gone with its context and all that was in it */
        gs_quota_release(release.device, release.kind, release.bytes);
        releases[i] = releases[count - 1];
        __atomic_store_n(&count, count - 1, __ATOMIC_RELAXED);
    }
    gs_unlock(&lock);
    REAL(cuThreadExchangeStreamCaptureMode)(&mode);
}

void gs_later_forget(void)
{
    lock.word = GS_LOCK_FREE;
    releases = NULL;
    count = room = 0;
}
