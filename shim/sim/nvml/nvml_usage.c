/* nvml_usage.c -- what NVML measures of a device: its memory, and how busy it was in the last samples. */
#include "nvml.h"

/* ---- memory ---- */

struct memory {
    unsigned long long total, free, used;
};

struct memory_v2 {
    unsigned version;
    unsigned long long total, reserved, free, used;
};

static uint64_t used_bytes(nvmlDevice_t device)
{
    sim_machine_lock(sim_nvml.machine);
    uint64_t used = sim_nvml_device(device)->used_bytes;
    sim_machine_unlock(sim_nvml.machine);
    return used;
}

NVML_API(nvmlDeviceGetMemoryInfo, (nvmlDevice_t device, struct memory *memory))
{
    NVML_ENTER_DEVICE(device, memory);
    memory->total = sim_nvml_device(device)->profile.memory_bytes;
    memory->used = used_bytes(device);
    memory->free = memory->total - memory->used;
    return NVML_SUCCESS;
}

NVML_API(nvmlDeviceGetMemoryInfo_v2, (nvmlDevice_t device, struct memory_v2 *memory))
{
    NVML_ENTER_DEVICE(device, memory);
    if (memory->version != NVML_VERSION(*memory, 2))
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    memory->total = sim_nvml_device(device)->profile.memory_bytes;
    memory->reserved = 0;
    memory->used = used_bytes(device);
    memory->free = memory->total - memory->used;
    return NVML_SUCCESS;
}

NVML_API(nvmlDeviceGetBAR1MemoryInfo, (nvmlDevice_t device, struct memory *memory))
{
    NVML_ENTER_DEVICE(device, memory);
    *memory = (struct memory){256ull << 30, (256ull << 30) - SIM_MIB, SIM_MIB};
    return NVML_SUCCESS;
}

/* ---- utilisation ---- */

unsigned sim_nvml_percent(uint64_t part_ns, uint64_t whole_ns)
{
    uint64_t value = whole_ns ? (100 * part_ns + whole_ns / 2) / whole_ns : 0;
    return value > 100 ? 100 : (unsigned)value;
}

/* With the machine locked. */
static unsigned percent_in(nvmlDevice_t device, uint64_t sample)
{
    const struct sim_machine *m = sim_nvml.machine;
    return sim_nvml_percent(sim_sample_device_ns(m, device->index, sample, sample), m->sample_ns);
}

unsigned sim_nvml_busy_percent(nvmlDevice_t device)
{
    struct sim_machine *m = sim_nvml.machine;
    sim_machine_lock(m);
    uint64_t last = sim_sample_last(m);
    unsigned percent = last ? percent_in(device, last) : 0;
    sim_machine_unlock(m);
    return percent;
}

struct utilization {
    unsigned gpu, memory;
};

NVML_API(nvmlDeviceGetUtilizationRates, (nvmlDevice_t device, struct utilization *utilization))
{
    NVML_ENTER_DEVICE(device, utilization);
    utilization->gpu = sim_nvml_busy_percent(device);
    utilization->memory = SIM_NVML_MEMORY_PERCENT(utilization->gpu);
    return NVML_SUCCESS;
}

#define NO_ENGINE(name)                                                                                      \
    NVML_API(name, (nvmlDevice_t device, unsigned *percent_busy, unsigned *period_us))                       \
    {                                                                                                        \
        NVML_ENTER_DEVICE(device, percent_busy);                                                             \
        if (!period_us)                                                                                      \
            return NVML_ERROR_INVALID_ARGUMENT;                                                              \
        *percent_busy = 0;                                                                                   \
        *period_us = (unsigned)(sim_nvml.machine->sample_ns / 1000);                                         \
        return NVML_SUCCESS;                                                                                 \
    }

NO_ENGINE(nvmlDeviceGetEncoderUtilization)
NO_ENGINE(nvmlDeviceGetDecoderUtilization)
NO_ENGINE(nvmlDeviceGetJpgUtilization)
NO_ENGINE(nvmlDeviceGetOfaUtilization)

/* ---- samples ---- */

enum sampling {
    SAMPLES_POWER,
    SAMPLES_GPU,
    SAMPLES_MEMORY,
    SAMPLES_ENCODER,
    SAMPLES_DECODER,
    SAMPLES_CLOCK,
    SAMPLES_MEMORY_CLOCK,
    SAMPLES_MODULE_POWER,
    SAMPLES_JPEG,
    SAMPLES_OFA,
    SAMPLINGS
};

enum { VALUE_UNSIGNED_INT = 1 };

struct sample {
    unsigned long long time_us;
    union {
        unsigned number;
        unsigned long long room;
    } value;
};

static unsigned value_of(nvmlDevice_t device, enum sampling sampling, uint64_t sample)
{
    const struct sim_profile *profile = &sim_nvml_device(device)->profile;
    switch (sampling) {
    case SAMPLES_POWER:
        return sim_nvml_idle_mw(device);
    case SAMPLES_GPU:
        return percent_in(device, sample);
    case SAMPLES_MEMORY:
        return SIM_NVML_MEMORY_PERCENT(percent_in(device, sample));
    case SAMPLES_CLOCK:
        return profile->clock_khz / 1000;
    case SAMPLES_MEMORY_CLOCK:
        return profile->memory_clock_khz / 1000;
    default:
        return 0;
    }
}

/* All are taken at the same moments here; the real driver looks at power and clocks more often. */
NVML_API(nvmlDeviceGetSamples, (nvmlDevice_t device, unsigned sampling, unsigned long long since_us,
                                unsigned *type, unsigned *count, struct sample *to))
{
    NVML_ENTER_DEVICE(device, count);
    struct sim_machine *m = sim_nvml.machine;
    unsigned room = *count, given = 0;
    if (!type || sampling >= SAMPLINGS)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (sampling == SAMPLES_MODULE_POWER)
        return NVML_ERROR_NOT_SUPPORTED;
    *type = VALUE_UNSIGNED_INT;
    if (!to) {
        *count = SIM_SAMPLES;
        return NVML_SUCCESS;
    }
    if (room == 0)
        return NVML_ERROR_INVALID_ARGUMENT;
    sim_machine_lock(m);
    for (uint64_t s = sim_sample_first(m); s <= sim_sample_last(m) && given < room; s++) {
        uint64_t time_us = m->sample_end_us[s % SIM_SAMPLES];
        if (time_us > since_us)
            to[given++] = (struct sample){time_us, {value_of(device, sampling, s)}};
    }
    sim_machine_unlock(m);
    *count = given;
    return given ? NVML_SUCCESS : NVML_ERROR_NOT_FOUND;
}
