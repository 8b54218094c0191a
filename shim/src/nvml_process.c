/* nvml_process.c -- the processes on a device as monitors see them: the tenant's own, each with what it is charged,
 * so that together they have what the device shows as used.
 *
 * Who computes is told by the tenant's slots: in a container NVML tells no pids, or those of another namespace.  Who
 * draws, is a client of MPS or kept the device busy only the driver knows: of its answer the tenant's own stay. */
#include <string.h>

#include "hooks.h"
#include "quota.h"
#include "view.h"

#define NOT_AVAILABLE 0xffffffffu
#define MODE_COMPUTE  0u

/* One entry of all lists; the shorter ones have its beginning. */
struct entry {
    unsigned int pid;
    unsigned long long used_bytes;
    unsigned int gpu_instance, compute_instance;
    unsigned long long protected_bytes;
};

#define SHORT_ENTRY offsetof(struct entry, gpu_instance)
#define ENTRY       offsetof(struct entry, protected_bytes)
#define LONG_ENTRY  sizeof(struct entry)

_Static_assert(SHORT_ENTRY == 16 && ENTRY == 24 && LONG_ENTRY == 32, "as NVML has them");

struct look {
    const struct gs_region *region;
    struct gs_view view;
};

/* False: the driver's own answer stands. */
static int look_at(struct look *look, nvmlDevice_t device)
{
    look->region = gs_region_view();
    return gs_view_look_nvml(look->region, device, &look->view);
}

/* What the slot's process is charged; 0 where it has nothing on the device, not even a context. */
static uint64_t held_in(const struct look *look, uint32_t slot, unsigned int *pid)
{
    *pid = __atomic_load_n(&look->region->usage->slot[slot].pid, __ATOMIC_ACQUIRE);
    return *pid && look->view.device >= 0 ? gs_quota_held(look->region->usage, slot, look->view.device) : 0;
}

static uint64_t held_by(const struct look *look, unsigned int pid)
{
    unsigned int owner;
    uint64_t held;

    for (uint32_t slot = 0; slot < GS_MAX_SLOTS; slot++)
        if ((held = held_in(look, slot, &owner)) && owner == pid)
            return held;
    return 0;
}

/* The drivers that came with the first 12.2 returned long entries under this name, and had no list of details yet;
 * who asks them knows that. */
static size_t entry_of_v3(nvmlDevice_t device)
{
    return REAL(nvmlDeviceGetRunningProcessDetailList)(device, NULL) == NVML_ERROR_FUNCTION_NOT_FOUND &&
                   REAL(nvmlDeviceGetConfComputeMemSizeInfo)(device, NULL) != NVML_ERROR_FUNCTION_NOT_FOUND
               ? LONG_ENTRY
               : ENTRY;
}

static nvmlReturn_t list(const struct look *look, nvmlDevice_t device, unsigned int *count, char *to,
                         size_t size)
{
    struct entry entry = {.gpu_instance = NOT_AVAILABLE, .compute_instance = NOT_AVAILABLE};
    unsigned int room = *count, found = 0;

    /* Only an instance of MIG has these. */
    if (REAL(nvmlDeviceGetGpuInstanceId)(device, &entry.gpu_instance) ||
        REAL(nvmlDeviceGetComputeInstanceId)(device, &entry.compute_instance))
        entry.gpu_instance = entry.compute_instance = NOT_AVAILABLE;
    for (uint32_t slot = 0; slot < GS_MAX_SLOTS; slot++) {
        entry.used_bytes = held_in(look, slot, &entry.pid);
        if (!entry.used_bytes)
            continue;
        if (to && found < room)
            memcpy(to + found * size, &entry, size);
        found++;
    }
    *count = found;
    if (found > room)
        return NVML_ERROR_INSUFFICIENT_SIZE;
    return found && !to ? NVML_ERROR_INVALID_ARGUMENT : NVML_SUCCESS;
}

/* Of the driver's entries those of the tenant's processes, with what these are charged. */
static void keep_own(const struct look *look, unsigned int *count, char *at, size_t size)
{
    unsigned int kept = 0;

    for (unsigned int i = 0; at && i < *count; i++) {
        struct entry entry;

        memcpy(&entry, at + i * size, size);
        entry.used_bytes = held_by(look, entry.pid);
        if (entry.used_bytes)
            memcpy(at + kept++ * size, &entry, size);
    }
    *count = kept;
}

/* What the driver says without writing a list: why there is none, if so. */
static int has_answer(nvmlReturn_t result)
{
    return result == NVML_SUCCESS || result == NVML_ERROR_INSUFFICIENT_SIZE;
}

#define LISTS_OWN(name, size)                                                                                \
    GSHARE_HOOK(name, (nvmlDevice_t device, unsigned int *count, void *infos))                               \
    {                                                                                                        \
        nvmlReturn_t result;                                                                                 \
        unsigned int none = 0;                                                                               \
        struct look look;                                                                                    \
                                                                                                             \
        if (!count || !look_at(&look, device))                                                               \
            return REAL(name)(device, count, infos);                                                         \
        result = REAL(name)(device, &none, NULL);                                                            \
        return has_answer(result) ? list(&look, device, count, infos, size) : result;                        \
    }

LISTS_OWN(nvmlDeviceGetComputeRunningProcesses, SHORT_ENTRY)
LISTS_OWN(nvmlDeviceGetComputeRunningProcesses_v2, ENTRY)
LISTS_OWN(nvmlDeviceGetComputeRunningProcesses_v3, entry_of_v3(device))

#define KEEPS_OWN(name, size)                                                                                \
    GSHARE_HOOK(name, (nvmlDevice_t device, unsigned int *count, void *infos))                               \
    {                                                                                                        \
        nvmlReturn_t result = REAL(name)(device, count, infos);                                              \
        struct look look;                                                                                    \
                                                                                                             \
        if (!result && look_at(&look, device))                                                               \
            keep_own(&look, count, infos, size);                                                             \
        return result;                                                                                       \
    }

KEEPS_OWN(nvmlDeviceGetGraphicsRunningProcesses, SHORT_ENTRY)
KEEPS_OWN(nvmlDeviceGetGraphicsRunningProcesses_v2, ENTRY)
KEEPS_OWN(nvmlDeviceGetGraphicsRunningProcesses_v3, entry_of_v3(device))
KEEPS_OWN(nvmlDeviceGetMPSComputeRunningProcesses, SHORT_ENTRY)
KEEPS_OWN(nvmlDeviceGetMPSComputeRunningProcesses_v2, ENTRY)
KEEPS_OWN(nvmlDeviceGetMPSComputeRunningProcesses_v3, entry_of_v3(device))

GSHARE_HOOK(nvmlDeviceGetRunningProcessDetailList, (nvmlDevice_t device, nvmlProcessDetailList_t *plist))
{
    nvmlReturn_t result;
    struct look look;

    if (!plist || !look_at(&look, device))
        return REAL(nvmlDeviceGetRunningProcessDetailList)(device, plist);
    if (plist->mode == MODE_COMPUTE) {
        nvmlProcessDetailList_t none = {.version = plist->version, .mode = plist->mode};

        result = REAL(nvmlDeviceGetRunningProcessDetailList)(device, &none);
        return has_answer(result)
                   ? list(&look, device, &plist->numProcArrayEntries, plist->procArray, LONG_ENTRY)
                   : result;
    }
    result = REAL(nvmlDeviceGetRunningProcessDetailList)(device, plist);
    if (!result)
        keep_own(&look, &plist->numProcArrayEntries, plist->procArray, LONG_ENTRY);
    return result;
}

/* -------- how busy each of them kept the device -------- */

/* Of samples that have a pid in that place, those of the tenant's processes. */
static nvmlReturn_t keep_samples(const struct look *look, unsigned int *count, char *at, size_t size,
                                 size_t pid_place)
{
    unsigned int kept = 0, pid;

    for (unsigned int i = 0; at && i < *count; i++) {
        memcpy(&pid, at + i * size + pid_place, sizeof pid);
        if (held_by(look, pid))
            memmove(at + kept++ * size, at + i * size, size);
    }
    *count = kept;
    return kept ? NVML_SUCCESS : NVML_ERROR_NOT_FOUND;
}

GSHARE_HOOK(nvmlDeviceGetProcessUtilization,
            (nvmlDevice_t device, nvmlProcessUtilizationSample_t *utilization, unsigned int *count,
             unsigned long long since_us))
{
    nvmlReturn_t result = REAL(nvmlDeviceGetProcessUtilization)(device, utilization, count, since_us);
    struct look look;

    if (result || !look_at(&look, device))
        return result;
    return keep_samples(&look, count, (char *)utilization, sizeof *utilization,
                        offsetof(nvmlProcessUtilizationSample_t, pid));
}

GSHARE_HOOK(nvmlDeviceGetProcessesUtilizationInfo,
            (nvmlDevice_t device, nvmlProcessesUtilizationInfo_t *info))
{
    nvmlReturn_t result = REAL(nvmlDeviceGetProcessesUtilizationInfo)(device, info);
    struct look look;

    if (result || !look_at(&look, device))
        return result;
    return keep_samples(&look, &info->processSamplesCount, (char *)info->procUtilArray,
                        sizeof *info->procUtilArray, offsetof(nvmlProcessUtilizationInfo_t, pid));
}
