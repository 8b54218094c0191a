/* nvml_field.c -- NVML's numbered fields, and the counters that only they and a few calls show. */
#include "nvml.h"

#include <time.h>

enum {
    FIELD_ECC_CURRENT = 1,
    FIELD_ECC_PENDING = 2,
    FIELD_ENERGY = 83,
    FIELD_PCIE_REPLAYS = 94,
    FIELD_POWER_AVERAGE = 185,
    FIELD_POWER_INSTANT = 186,
    FIELD_PCIE_SENT_BYTES = 197,
    FIELD_PCIE_RECEIVED_BYTES = 198,
};

enum { VALUE_UNSIGNED_INT = 1, VALUE_UNSIGNED_LONG_LONG = 3 };

struct field {
    unsigned id, scope;
    long long time_us, latency_us;
    unsigned type;
    nvmlReturn_t result;
    union {
        double real;
        unsigned number;
        unsigned long long long_number;
    } value;
};

/* Millijoules since the machine began: idle power always, the rest while the device was busy. */
static uint64_t energy_mj(nvmlDevice_t device)
{
    struct sim_machine *m = sim_nvml.machine;
    sim_machine_lock(m);
    uint64_t elapsed_ns = sim_device_elapsed_ns(m, device->index);
    uint64_t busy_ns = elapsed_ns - sim_device_idle_ns(m, device->index);
    sim_machine_unlock(m);
    uint64_t idle_mw = sim_nvml_idle_mw(device), most_mw = sim_nvml_most_mw(device);
    return (elapsed_ns / 1000000 * idle_mw + busy_ns / 1000000 * (most_mw - idle_mw)) / 1000;
}

/* All that crossed the bus: which way is not counted apart. */
static uint64_t copied_bytes(nvmlDevice_t device)
{
    struct sim_machine *m = sim_nvml.machine;
    uint64_t bytes = 0;
    sim_machine_lock(m);
    for (uint32_t p = 1; p <= SIM_MAX_PROCESSES && m->process[p].state != SIM_PROCESS_FREE; p++)
        bytes += m->process[p].device[device->index].copy_bytes;
    sim_machine_unlock(m);
    return bytes;
}

NVML_API(nvmlDeviceGetTotalEnergyConsumption, (nvmlDevice_t device, unsigned long long *energy))
{
    NVML_ENTER_DEVICE(device, energy);
    *energy = energy_mj(device);
    return NVML_SUCCESS;
}

NVML_NUMBER(nvmlDeviceGetPcieReplayCounter, unsigned, 0)

static nvmlReturn_t give_number(struct field *field, unsigned number)
{
    field->type = VALUE_UNSIGNED_INT;
    field->value.number = number;
    return NVML_SUCCESS;
}

static nvmlReturn_t give_long(struct field *field, uint64_t number)
{
    field->type = VALUE_UNSIGNED_LONG_LONG;
    field->value.long_number = number;
    return NVML_SUCCESS;
}

static nvmlReturn_t give(nvmlDevice_t device, struct field *field)
{
    switch (field->id) {
    case FIELD_ECC_CURRENT:
    case FIELD_ECC_PENDING:
        return give_number(field, 1);
    case FIELD_ENERGY:
        return give_long(field, energy_mj(device));
    case FIELD_PCIE_REPLAYS:
        return give_number(field, 0);
    case FIELD_POWER_AVERAGE:
    case FIELD_POWER_INSTANT:
        return give_number(field, sim_nvml_idle_mw(device));
    case FIELD_PCIE_SENT_BYTES:
    case FIELD_PCIE_RECEIVED_BYTES:
        return give_long(field, copied_bytes(device) / 2);
    default:
        return NVML_ERROR_NOT_SUPPORTED;
    }
}

NVML_API(nvmlDeviceGetFieldValues, (nvmlDevice_t device, int count, struct field *field))
{
    NVML_ENTER_DEVICE(device, field);
    if (count < 0)
        return NVML_ERROR_INVALID_ARGUMENT;
    for (int i = 0; i < count; i++) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        field[i].time_us = now.tv_sec * 1000000ll + now.tv_nsec / 1000;
        field[i].latency_us = 0;
        field[i].value.long_number = 0;
        field[i].result = give(device, &field[i]);
    }
    return NVML_SUCCESS;
}

/* Of the counters that can be cleared there is none that ever counts. */
NVML_API(nvmlDeviceClearFieldValues, (nvmlDevice_t device, int count, struct field *field))
{
    NVML_ENTER_DEVICE(device, field);
    if (count < 0)
        return NVML_ERROR_INVALID_ARGUMENT;
    for (int i = 0; i < count; i++)
        field[i].result = field[i].id == FIELD_PCIE_REPLAYS ? NVML_SUCCESS : NVML_ERROR_NOT_SUPPORTED;
    return NVML_SUCCESS;
}
