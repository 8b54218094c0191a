/* properties.c -- what a program can ask about a device. */
#include "mps.h"
#include "profile.h"
#include "sim.h"

#include <stdio.h>
#include <string.h>

#define ENTER_DEVICE(name, device)                                                                           \
    SIM_ENTER(name);                                                                                         \
    if (!sim_device_valid(device))                                                                           \
    return CUDA_ERROR_INVALID_DEVICE

SIM_API(cuDeviceGetCount, (int *count))
{
    SIM_ENTER(cuDeviceGetCount);
    if (!count)
        return CUDA_ERROR_INVALID_VALUE;
    *count = sim_driver.device_count;
    return CUDA_SUCCESS;
}

SIM_API(cuDeviceGet, (CUdevice * device, int ordinal))
{
    SIM_ENTER(cuDeviceGet);
    if (!device)
        return CUDA_ERROR_INVALID_VALUE;
    if (!sim_device_valid(ordinal))
        return CUDA_ERROR_INVALID_DEVICE;
    *device = ordinal;
    return CUDA_SUCCESS;
}

SIM_API(cuDeviceGetName, (char *name, int length, CUdevice device))
{
    ENTER_DEVICE(cuDeviceGetName, device);
    if (!name || length <= 0)
        return CUDA_ERROR_INVALID_VALUE;
    snprintf(name, (size_t)length, "%s", sim_device_of(device)->profile.name);
    return CUDA_SUCCESS;
}

SIM_API(cuDeviceGetUuid, (CUuuid * uuid, CUdevice device))
{
    ENTER_DEVICE(cuDeviceGetUuid, device);
    if (!uuid)
        return CUDA_ERROR_INVALID_VALUE;
    memcpy(uuid->bytes, sim_device_of(device)->uuid, sizeof(uuid->bytes));
    return CUDA_SUCCESS;
}

SIM_API(cuDeviceGetUuid_v2, (CUuuid * uuid, CUdevice device))
{
    ENTER_DEVICE(cuDeviceGetUuid_v2, device);
    if (!uuid)
        return CUDA_ERROR_INVALID_VALUE;
    memcpy(uuid->bytes, sim_device_of(device)->uuid, sizeof(uuid->bytes));
    return CUDA_SUCCESS;
}

SIM_API(cuDeviceTotalMem_v2, (size_t * bytes, CUdevice device))
{
    ENTER_DEVICE(cuDeviceTotalMem_v2, device);
    if (!bytes)
        return CUDA_ERROR_INVALID_VALUE;
    *bytes = sim_device_of(device)->profile.memory_bytes;
    return CUDA_SUCCESS;
}

/* The spelling of CUDA 2: a count that does not fit stays at the most that fits. */
SIM_API(cuDeviceTotalMem, (unsigned *bytes, CUdevice device))
{
    ENTER_DEVICE(cuDeviceTotalMem, device);
    if (!bytes)
        return CUDA_ERROR_INVALID_VALUE;
    uint64_t total = sim_device_of(device)->profile.memory_bytes;
    *bytes = total > UINT32_MAX ? UINT32_MAX : (unsigned)total;
    return CUDA_SUCCESS;
}

CUresult sim_device_attribute(CUdevice device, int attribute, int *value)
{
    const struct sim_profile *p = &sim_device_of(device)->profile;
    uint32_t index = sim_driver.device[device];
    switch (attribute) {
#define ARCH (p->compute_major * 10 + p->compute_minor)
#define ATTRIBUTE(number, name, value_of)                                                                    \
    case number:                                                                                             \
        *value = (int)(value_of);                                                                            \
        return CUDA_SUCCESS;
#include "attributes.def"
#undef ATTRIBUTE
#undef ARCH
    default:
        return CUDA_ERROR_INVALID_VALUE;
    }
}

SIM_API(cuDeviceGetAttribute, (int *value, int attribute, CUdevice device))
{
    if (!value) /* said even before cuInit */
        return CUDA_ERROR_INVALID_VALUE;
    SIM_ENTER(cuDeviceGetAttribute);
    if (!sim_device_valid(device))
        return CUDA_ERROR_INVALID_DEVICE;
    return sim_device_attribute(device, attribute, value);
}

SIM_API(cuDeviceComputeCapability, (int *major, int *minor, CUdevice device))
{
    ENTER_DEVICE(cuDeviceComputeCapability, device);
    if (!major || !minor)
        return CUDA_ERROR_INVALID_VALUE;
    *major = (int)sim_device_of(device)->profile.compute_major;
    *minor = (int)sim_device_of(device)->profile.compute_minor;
    return CUDA_SUCCESS;
}

/* Eight words and a pair of arrays: the query that cuDeviceGetAttribute replaced. */
struct properties {
    int max_threads_per_block, max_threads_dim[3], max_grid_size[3];
    int shared_per_block, constant_bytes, warp_size, max_pitch, registers_per_block, clock_khz, texture_align;
};

SIM_API(cuDeviceGetProperties, (struct properties * properties, CUdevice device))
{
    ENTER_DEVICE(cuDeviceGetProperties, device);
    if (!properties)
        return CUDA_ERROR_INVALID_VALUE;
    *properties = (struct properties){
        .max_threads_per_block = 1024,
        .max_threads_dim = {1024, 1024, 64},
        .max_grid_size = {2147483647, 65535, 65535},
        .shared_per_block = 49152,
        .constant_bytes = 65536,
        .warp_size = 32,
        .max_pitch = 2147483647,
        .registers_per_block = 65536,
        .clock_khz = (int)sim_device_of(device)->profile.clock_khz,
        .texture_align = 512,
    };
    return CUDA_SUCCESS;
}

SIM_API(cuDeviceGetPCIBusId, (char *text, int length, CUdevice device))
{
    ENTER_DEVICE(cuDeviceGetPCIBusId, device);
    if (!text || length <= 0)
        return CUDA_ERROR_INVALID_VALUE;
    snprintf(text, (size_t)length, "0000:%02X:00.0", sim_pci_bus(sim_driver.device[device]));
    return CUDA_SUCCESS;
}

/* [domain:]bus:device[.function], in hex. */
SIM_API(cuDeviceGetByPCIBusId, (CUdevice * device, const char *text))
{
    SIM_ENTER(cuDeviceGetByPCIBusId);
    unsigned domain = 0, bus = 0, slot = 0, function = 0;
    if (!device || !text)
        return CUDA_ERROR_INVALID_VALUE;
    if (sscanf(text, "%x:%x:%x.%x", &domain, &bus, &slot, &function) < 3) {
        domain = function = 0;
        if (sscanf(text, "%x:%x.%x", &bus, &slot, &function) < 2)
            return CUDA_ERROR_INVALID_VALUE;
    }
    for (CUdevice i = 0; i < sim_driver.device_count; i++)
        if (domain == 0 && slot == 0 && function == 0 && bus == sim_pci_bus(sim_driver.device[i])) {
            *device = i;
            return CUDA_SUCCESS;
        }
    return CUDA_ERROR_INVALID_DEVICE;
}

/* Only Windows has them. */
SIM_API(cuDeviceGetLuid, (char *luid, unsigned *mask, CUdevice device))
{
    ENTER_DEVICE(cuDeviceGetLuid, device);
    return CUDA_ERROR_NOT_SUPPORTED;
}

SIM_API(cuDeviceCanAccessPeer, (int *can, CUdevice device, CUdevice peer))
{
    SIM_ENTER(cuDeviceCanAccessPeer);
    if (!can)
        return CUDA_ERROR_INVALID_VALUE;
    if (!sim_device_valid(device) || !sim_device_valid(peer))
        return CUDA_ERROR_INVALID_DEVICE;
    *can = device != peer;
    return CUDA_SUCCESS;
}

SIM_API(cuDeviceGetP2PAttribute, (int *value, int attribute, CUdevice source, CUdevice destination))
{
    enum {
        PERFORMANCE_RANK = 1,
        ACCESS_SUPPORTED,
        NATIVE_ATOMIC_SUPPORTED,
        ARRAY_ACCESS_SUPPORTED,
        PARTIAL_ATOMIC
    };
    SIM_ENTER(cuDeviceGetP2PAttribute);
    if (!sim_device_valid(source) || !sim_device_valid(destination) || source == destination)
        return CUDA_ERROR_INVALID_DEVICE;
    if (!value || attribute < PERFORMANCE_RANK || attribute > PARTIAL_ATOMIC)
        return CUDA_ERROR_INVALID_VALUE;
    *value = attribute == ACCESS_SUPPORTED || attribute == ARRAY_ACCESS_SUPPORTED;
    return CUDA_SUCCESS;
}

/* Limiting a context to some SMs needs MPS. */
SIM_API(cuDeviceGetExecAffinitySupport, (int *supported, int type, CUdevice device))
{
    ENTER_DEVICE(cuDeviceGetExecAffinitySupport, device);
    if (!supported || type != 0)
        return CUDA_ERROR_INVALID_VALUE;
    *supported = (int)sim_driver.machine->mps;
    return CUDA_SUCCESS;
}
