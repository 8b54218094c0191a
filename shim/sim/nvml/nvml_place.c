/* nvml_place.c -- where NVML says that a device sits: all devices on one node, of which every processor is near. */
#define _GNU_SOURCE
#include "nvml.h"

#include <sched.h>
#include <string.h>
#include <unistd.h>

#define WORD_BITS (8 * sizeof(unsigned long))

enum { SCOPE_NODE, SCOPE_SOCKET };
enum { TOPOLOGY_INTERNAL = 0, TOPOLOGY_NODE = 40, TOPOLOGY_SYSTEM = 50 };
enum { P2P_READ, P2P_WRITE, P2P_NVLINK, P2P_ATOMICS, P2P_PCI, P2P_CAPABILITIES };
enum { P2P_OK = 0, P2P_NOT_SUPPORTED = 5 };

static nvmlReturn_t give_bits(unsigned words, unsigned long *set, unsigned bits)
{
    if (!words)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (words * WORD_BITS < bits)
        return NVML_ERROR_INSUFFICIENT_SIZE;
    memset(set, 0, words * sizeof(*set));
    for (unsigned i = 0; i < bits; i++)
        set[i / WORD_BITS] |= 1ul << i % WORD_BITS;
    return NVML_SUCCESS;
}

static unsigned processors(void)
{
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count > 0 ? (unsigned)count : 1;
}

NVML_API(nvmlDeviceGetCpuAffinity, (nvmlDevice_t device, unsigned words, unsigned long *set))
{
    NVML_ENTER_DEVICE(device, set);
    return give_bits(words, set, processors());
}

NVML_API(nvmlDeviceGetCpuAffinityWithinScope,
         (nvmlDevice_t device, unsigned words, unsigned long *set, unsigned scope))
{
    NVML_ENTER_DEVICE(device, set);
    return scope > SCOPE_SOCKET ? NVML_ERROR_INVALID_ARGUMENT : give_bits(words, set, processors());
}

NVML_API(nvmlDeviceGetMemoryAffinity,
         (nvmlDevice_t device, unsigned words, unsigned long *set, unsigned scope))
{
    NVML_ENTER_DEVICE(device, set);
    return scope > SCOPE_SOCKET ? NVML_ERROR_INVALID_ARGUMENT : give_bits(words, set, 1);
}

/* Near and free are the same where every processor is near. */
static nvmlReturn_t run_anywhere(nvmlDevice_t device)
{
    NVML_ENTER_DEVICE(device, device);
    cpu_set_t all;
    CPU_ZERO(&all);
    for (unsigned i = 0; i < processors() && i < CPU_SETSIZE; i++)
        CPU_SET(i, &all);
    return sched_setaffinity(0, sizeof(all), &all) == 0 ? NVML_SUCCESS : NVML_ERROR_UNKNOWN;
}

NVML_API(nvmlDeviceSetCpuAffinity, (nvmlDevice_t device))
{
    return run_anywhere(device);
}

NVML_API(nvmlDeviceClearCpuAffinity, (nvmlDevice_t device))
{
    return run_anywhere(device);
}

NVML_API(nvmlSystemGetTopologyGpuSet, (unsigned cpu, unsigned *count, nvmlDevice_t *device))
{
    NVML_ENTER();
    if (!count || cpu >= processors())
        return NVML_ERROR_INVALID_ARGUMENT;
    for (unsigned i = 0; device && i < *count && i < sim_nvml.machine->device_count; i++)
        device[i] = &sim_nvml.device[i];
    *count = sim_nvml.machine->device_count;
    return NVML_SUCCESS;
}

/* Each device hangs on a root port of its own. */
NVML_API(nvmlDeviceGetTopologyNearestGpus,
         (nvmlDevice_t device, unsigned level, unsigned *count, nvmlDevice_t *near))
{
    NVML_ENTER_DEVICE(device, count);
    unsigned found = 0, room = *count;
    if (level > TOPOLOGY_SYSTEM || level % 10)
        return NVML_ERROR_INVALID_ARGUMENT;
    for (unsigned i = 0; level == TOPOLOGY_NODE && i < sim_nvml.machine->device_count; i++) {
        if (i == device->index)
            continue;
        if (near && found < room)
            near[found] = &sim_nvml.device[i];
        found++;
    }
    *count = found;
    return NVML_SUCCESS;
}

NVML_API(nvmlDeviceGetTopologyCommonAncestor, (nvmlDevice_t one, nvmlDevice_t other, unsigned *level))
{
    NVML_ENTER_DEVICE(one, level);
    if (!sim_nvml_valid(other))
        return NVML_ERROR_INVALID_ARGUMENT;
    *level = one == other ? TOPOLOGY_INTERNAL : TOPOLOGY_NODE;
    return NVML_SUCCESS;
}

NVML_API(nvmlDeviceOnSameBoard, (nvmlDevice_t one, nvmlDevice_t other, int *same))
{
    NVML_ENTER_DEVICE(one, same);
    if (!sim_nvml_valid(other))
        return NVML_ERROR_INVALID_ARGUMENT;
    *same = one == other;
    return NVML_SUCCESS;
}

NVML_API(nvmlDeviceGetP2PStatus,
         (nvmlDevice_t one, nvmlDevice_t other, unsigned capability, unsigned *status))
{
    NVML_ENTER_DEVICE(one, status);
    if (!sim_nvml_valid(other) || one == other)
        return NVML_ERROR_INVALID_ARGUMENT;
    bool over_pcie = capability == P2P_READ || capability == P2P_WRITE || capability == P2P_PCI;
    *status = over_pcie ? P2P_OK : P2P_NOT_SUPPORTED;
    return NVML_SUCCESS;
}
