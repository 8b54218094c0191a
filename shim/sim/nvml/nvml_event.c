/* nvml_event.c -- NVML's event sets: nothing that they report ever happens here, so that each wait runs out. */
#include "nvml.h"

#include <stdlib.h>
#include <time.h>

#define EVENT_XID     0x8ull
#define EVENTS_OF_ECC 0x3ull

struct event_set {
    uint32_t magic;
};

static const uint32_t alive = 0x45565431;

static bool valid(const struct event_set *set)
{
    return set && set->magic == alive;
}

static struct event_set *new_set(void)
{
    struct event_set *set = calloc(1, sizeof(*set));
    if (set)
        set->magic = alive;
    return set;
}

static nvmlReturn_t free_set(struct event_set *set)
{
    NVML_ENTER();
    if (!valid(set))
        return NVML_ERROR_INVALID_ARGUMENT;
    set->magic = 0;
    free(set);
    return NVML_SUCCESS;
}

static nvmlReturn_t wait_in_vain(const struct event_set *set, unsigned timeout_ms)
{
    NVML_ENTER();
    if (!valid(set))
        return NVML_ERROR_INVALID_ARGUMENT;
    nanosleep(&(struct timespec){timeout_ms / 1000, timeout_ms % 1000 * 1000000}, NULL);
    return NVML_ERROR_TIMEOUT;
}

NVML_API(nvmlDeviceGetSupportedEventTypes, (nvmlDevice_t device, unsigned long long *types))
{
    NVML_ENTER_DEVICE(device, types);
    *types = EVENTS_OF_ECC | EVENT_XID;
    return NVML_SUCCESS;
}

NVML_API(nvmlEventSetCreate, (struct event_set * *set))
{
    NVML_ENTER();
    if (!set)
        return NVML_ERROR_INVALID_ARGUMENT;
    *set = new_set();
    return *set ? NVML_SUCCESS : NVML_ERROR_MEMORY;
}

NVML_API(nvmlEventSetFree, (struct event_set * set))
{
    return free_set(set);
}

NVML_API(nvmlDeviceRegisterEvents, (nvmlDevice_t device, unsigned long long types, struct event_set *set))
{
    NVML_ENTER_DEVICE(device, set);
    if (!valid(set))
        return NVML_ERROR_INVALID_ARGUMENT;
    return types & ~(EVENTS_OF_ECC | EVENT_XID) ? NVML_ERROR_NOT_SUPPORTED : NVML_SUCCESS;
}

NVML_API(nvmlEventSetWait, (struct event_set * set, void *event, unsigned timeout_ms))
{
    return wait_in_vain(set, timeout_ms);
}

NVML_API(nvmlEventSetWait_v2, (struct event_set * set, void *event, unsigned timeout_ms))
{
    return wait_in_vain(set, timeout_ms);
}

/* ---- events of the system: a device that comes or goes ---- */

struct system_set {
    unsigned version;
    struct event_set *set;
};

struct system_register {
    unsigned version;
    unsigned long long types;
    struct event_set *set;
};

struct system_wait {
    unsigned version, timeout_ms;
    struct event_set *set;
    void *event;
    unsigned room, count;
};

#define CHECK_REQUEST(request)                                                                               \
    do {                                                                                                     \
        NVML_ENTER();                                                                                        \
        if (!(request))                                                                                      \
            return NVML_ERROR_INVALID_ARGUMENT;                                                              \
        if ((request)->version != NVML_VERSION(*(request), 1))                                               \
            return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;                                                     \
    } while (0)

NVML_API(nvmlSystemEventSetCreate, (struct system_set * request))
{
    CHECK_REQUEST(request);
    request->set = new_set();
    return request->set ? NVML_SUCCESS : NVML_ERROR_MEMORY;
}

NVML_API(nvmlSystemEventSetFree, (struct system_set * request))
{
    CHECK_REQUEST(request);
    return free_set(request->set);
}

NVML_API(nvmlSystemRegisterEvents, (struct system_register * request))
{
    CHECK_REQUEST(request);
    return valid(request->set) ? NVML_SUCCESS : NVML_ERROR_INVALID_ARGUMENT;
}

NVML_API(nvmlSystemEventSetWait, (struct system_wait * request))
{
    CHECK_REQUEST(request);
    request->count = 0;
    return wait_in_vain(request->set, request->timeout_ms);
}
