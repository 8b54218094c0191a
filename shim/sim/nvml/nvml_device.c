/* nvml_device.c -- what NVML says about a device that never changes: its bus, its make, its power. */
#include "nvml.h"

#include <stdio.h>
#include <string.h>

/* Milliwatts: what an idle card draws, and what it may draw. */
struct power {
    char key[16];
    unsigned idle, most, architecture;
};

static const struct power *power_of(nvmlDevice_t device)
{
    static const struct power table[] = {
        {"h200", 76000, 700000, 9},
        {"a100", 60000, 400000, 7},
        {"l4", 16000, 72000, 8},
        {"t4", 10000, 70000, 6},
    };
    for (unsigned i = 1; i < sizeof(table) / sizeof(table[0]); i++)
        if (strcmp(table[i].key, sim_nvml_device(device)->profile.key) == 0)
            return &table[i];
    return &table[0];
}

unsigned sim_nvml_idle_mw(nvmlDevice_t device)
{
    return power_of(device)->idle;
}

unsigned sim_nvml_most_mw(nvmlDevice_t device)
{
    return power_of(device)->most;
}

/* ---- bus ---- */

struct pci_info {
    char legacy_id[16];
    unsigned domain, bus, device, pci_device_id, pci_subsystem_id;
    char id[32];
};

struct pci_info_v2 {
    char id[16];
    unsigned domain, bus, device, pci_device_id, pci_subsystem_id, reserved[4];
};

struct pci_info_ext {
    unsigned version, domain, bus, device, pci_device_id, pci_subsystem_id, base_class, sub_class;
    char id[32];
};

NVML_API(nvmlDeviceGetPciInfo_v3, (nvmlDevice_t device, struct pci_info *info))
{
    NVML_ENTER_DEVICE(device, info);
    unsigned bus = sim_pci_bus(device->index);
    *info = (struct pci_info){
        .bus = bus,
        .pci_device_id = sim_nvml_device(device)->profile.pci_device_id,
        .pci_subsystem_id = 0x10de,
    };
    snprintf(info->legacy_id, sizeof(info->legacy_id), "0000:%02X:00.0", bus);
    snprintf(info->id, sizeof(info->id), "00000000:%02X:00.0", bus);
    return NVML_SUCCESS;
}

NVML_API(nvmlDeviceGetPciInfo_v2, (nvmlDevice_t device, struct pci_info_v2 *info))
{
    NVML_ENTER_DEVICE(device, info);
    *info = (struct pci_info_v2){
        .bus = sim_pci_bus(device->index),
        .pci_device_id = sim_nvml_device(device)->profile.pci_device_id,
        .pci_subsystem_id = 0x10de,
    };
    snprintf(info->id, sizeof(info->id), "0000:%02X:00.0", info->bus);
    return NVML_SUCCESS;
}

NVML_API(nvmlDeviceGetPciInfo, (nvmlDevice_t device, struct pci_info_v2 *info))
{
    return nvmlDeviceGetPciInfo_v2(device, info);
}

NVML_API(nvmlDeviceGetPciInfoExt, (nvmlDevice_t device, struct pci_info_ext *info))
{
    NVML_ENTER_DEVICE(device, info);
    if (info->version != NVML_VERSION(*info, 1))
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    *info = (struct pci_info_ext){
        .version = info->version,
        .bus = sim_pci_bus(device->index),
        .pci_device_id = sim_nvml_device(device)->profile.pci_device_id,
        .pci_subsystem_id = 0x10de,
        .base_class = 3,
        .sub_class = 2,
    };
    snprintf(info->id, sizeof(info->id), "00000000:%02X:00.0", info->bus);
    return NVML_SUCCESS;
}

/* ---- one number each ---- */

#define PROFILE (sim_nvml_device(device)->profile)

NVML_NUMBER(nvmlDeviceGetBrand, unsigned, 14)
NVML_NUMBER(nvmlDeviceGetArchitecture, unsigned, power_of(device)->architecture)
NVML_NUMBER(nvmlDeviceGetComputeMode, unsigned, 0)
NVML_NUMBER(nvmlDeviceGetPersistenceMode, unsigned, 1)
NVML_NUMBER(nvmlDeviceGetPerformanceState, unsigned, 0)
NVML_NUMBER(nvmlDeviceGetPowerState, unsigned, 0)
NVML_NUMBER(nvmlDeviceGetDisplayMode, unsigned, 0)
NVML_NUMBER(nvmlDeviceGetDisplayActive, unsigned, 0)
NVML_NUMBER(nvmlDeviceGetPowerUsage, unsigned, power_of(device)->idle)
NVML_NUMBER(nvmlDeviceGetPowerManagementMode, unsigned, 1)
NVML_NUMBER(nvmlDeviceGetPowerManagementLimit, unsigned, power_of(device)->most)
NVML_NUMBER(nvmlDeviceGetPowerManagementDefaultLimit, unsigned, power_of(device)->most)
NVML_NUMBER(nvmlDeviceGetEnforcedPowerLimit, unsigned, power_of(device)->most)
NVML_NUMBER(nvmlDeviceGetMaxMigDeviceCount, unsigned, 0)
NVML_NUMBER(nvmlDeviceIsMigDeviceHandle, unsigned, 0)
NVML_NUMBER(nvmlDeviceGetNumGpuCores, unsigned, 128 * PROFILE.sm_count)
NVML_NUMBER(nvmlDeviceGetMemoryBusWidth, unsigned, PROFILE.memory_bus_bits)
NVML_NUMBER(nvmlDeviceGetCurrPcieLinkGeneration, unsigned, 4)
NVML_NUMBER(nvmlDeviceGetMaxPcieLinkGeneration, unsigned, 4)
NVML_NUMBER(nvmlDeviceGetCurrPcieLinkWidth, unsigned, 16)
NVML_NUMBER(nvmlDeviceGetMaxPcieLinkWidth, unsigned, 16)
NVML_NUMBER(nvmlDeviceGetGpuMaxPcieLinkGeneration, unsigned, 4)
NVML_NUMBER(nvmlDeviceGetMultiGpuBoard, unsigned, 0)
NVML_NUMBER(nvmlDeviceGetModuleId, unsigned, device->index)
NVML_NUMBER(nvmlDeviceGetVirtualizationMode, unsigned, 0)
NVML_NUMBER(nvmlDeviceGetNumFans, unsigned, 0)       /* the air comes from the chassis */
NVML_NUMBER(nvmlDeviceGetPcieSpeed, unsigned, 16000) /* Mbps of a lane */
NVML_NUMBER(nvmlDeviceGetPcieLinkMaxSpeed, unsigned, 4)
NVML_NUMBER(nvmlDeviceGetIrqNum, unsigned, 128 + device->index)
NVML_NUMBER(nvmlDeviceGetPowerSource, unsigned, 0)
NVML_NUMBER(nvmlDeviceGetBusType, unsigned, 2) /* PCI Express */
NVML_NUMBER(nvmlDeviceGetBoardId, unsigned, sim_pci_bus(device->index) << 8)
NVML_NUMBER(nvmlDeviceGetCurrentClocksThrottleReasons, unsigned long long, 0)
NVML_NUMBER(nvmlDeviceGetCurrentClocksEventReasons, unsigned long long, 0)

NVML_API(nvmlDeviceGetCudaComputeCapability, (nvmlDevice_t device, int *major, int *minor))
{
    NVML_ENTER_DEVICE(device, major);
    if (!minor)
        return NVML_ERROR_INVALID_ARGUMENT;
    *major = (int)PROFILE.compute_major;
    *minor = (int)PROFILE.compute_minor;
    return NVML_SUCCESS;
}

NVML_API(nvmlDeviceGetPowerManagementLimitConstraints, (nvmlDevice_t device, unsigned *least, unsigned *most))
{
    NVML_ENTER_DEVICE(device, least);
    if (!most)
        return NVML_ERROR_INVALID_ARGUMENT;
    *least = *most = power_of(device)->most;
    return NVML_SUCCESS;
}

NVML_API(nvmlDeviceGetPcieThroughput, (nvmlDevice_t device, unsigned counter, unsigned *kilobytes_per_s))
{
    NVML_ENTER_DEVICE(device, kilobytes_per_s);
    if (counter > 1)
        return NVML_ERROR_INVALID_ARGUMENT;
    *kilobytes_per_s = 0;
    return NVML_SUCCESS;
}
