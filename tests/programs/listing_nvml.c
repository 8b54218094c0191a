/* listing_nvml.c -- an NVML with one device, which lists the processes that PIDS names ("12,34") in every list but that
 * of computing ones, each with a GiB, and which is an instance of MIG where INSTANCE is set.
 *
 * With -DEARLY it is that of the first 12.2: the third version has long entries, and there are no details. */
#include <stdlib.h>
#include <string.h>

enum { SUCCESS, INVALID_ARGUMENT = 2, NOT_SUPPORTED, INSUFFICIENT_SIZE = 7 };

struct entry {
    unsigned pid;
    unsigned long long used_bytes;
    unsigned gpu_instance, compute_instance;
    unsigned long long protected_bytes;
};

struct details {
    unsigned version, mode, count;
    void *entries;
};

#define API(name, parameters)                                                                                \
    __attribute__((visibility("default"))) int name parameters;                                              \
    int name parameters

static unsigned next_pid(const char **at)
{
    char *end;
    unsigned pid = (unsigned)strtoul(*at, &end, 10);

    *at = *end ? end + 1 : end;
    return pid;
}

static int give(unsigned *count, char *to, size_t size, int is_empty)
{
    const char *pids = is_empty || !getenv("PIDS") ? "" : getenv("PIDS");
    unsigned found = 0;

    while (*pids) {
        struct entry entry = {next_pid(&pids), 1ull << 30, 7, 8, 9};

        if (to && found < *count)
            memcpy(to + found * size, &entry, size);
        found++;
    }
    if (found > *count || !to) {
        *count = found;
        return found ? INSUFFICIENT_SIZE : SUCCESS;
    }
    *count = found;
    return SUCCESS;
}

#ifdef EARLY
#define SIZE_V3 32
API(nvmlDeviceGetConfComputeMemSizeInfo, (void *device, void *info))
{
    return device && info ? NOT_SUPPORTED : INVALID_ARGUMENT;
}
#else
#define SIZE_V3 24
API(nvmlDeviceGetRunningProcessDetailList, (void *device, struct details *list))
{
    return device && list ? give(&list->count, list->entries, 32, list->mode == 0) : INVALID_ARGUMENT;
}
#endif

#define LISTS(name, is_empty)                                                                                \
    API(name, (void *device, unsigned *count, void *to))                                                     \
    {                                                                                                        \
        return device && count ? give(count, to, 16, is_empty) : INVALID_ARGUMENT;                           \
    }                                                                                                        \
    API(name##_v2, (void *device, unsigned *count, void *to))                                                \
    {                                                                                                        \
        return device && count ? give(count, to, 24, is_empty) : INVALID_ARGUMENT;                           \
    }                                                                                                        \
    API(name##_v3, (void *device, unsigned *count, void *to))                                                \
    {                                                                                                        \
        return device && count ? give(count, to, SIZE_V3, is_empty) : INVALID_ARGUMENT;                      \
    }

LISTS(nvmlDeviceGetComputeRunningProcesses, 1)
LISTS(nvmlDeviceGetGraphicsRunningProcesses, 0)
LISTS(nvmlDeviceGetMPSComputeRunningProcesses, 0)

API(nvmlInit_v2, (void))
{
    return SUCCESS;
}

API(nvmlDeviceGetHandleByIndex_v2, (unsigned index, void **device))
{
    *device = &give;
    return index ? INVALID_ARGUMENT : SUCCESS;
}

API(nvmlDeviceGetUUID, (void *device, char *uuid, unsigned length))
{
    if (!device || !getenv("UUID") || strlen(getenv("UUID")) >= length)
        return INVALID_ARGUMENT;
    strcpy(uuid, getenv("UUID"));
    return SUCCESS;
}

static int give_instance(unsigned *id, unsigned value)
{
    if (!getenv("INSTANCE"))
        return NOT_SUPPORTED;
    *id = value;
    return SUCCESS;
}

API(nvmlDeviceGetGpuInstanceId, (void *device, unsigned *id))
{
    return device ? give_instance(id, 3) : INVALID_ARGUMENT;
}

API(nvmlDeviceGetComputeInstanceId, (void *device, unsigned *id))
{
    return device ? give_instance(id, 4) : INVALID_ARGUMENT;
}
