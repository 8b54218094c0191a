/* nvml_clock.c -- NVML's clocks, performance states and temperatures: constants of a card that stays at P0. */
#include "nvml.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { CLOCK_GRAPHICS, CLOCK_SM, CLOCK_MEMORY, CLOCK_VIDEO, CLOCKS };
enum { P0 = 0, PSTATES = 16, PSTATE_UNKNOWN = 32 };
enum { CELSIUS = 35, LEAST_CELSIUS = 0, MOST_CELSIUS = 95, SLOWDOWN_CELSIUS = 89 };

static nvmlReturn_t clock_mhz(nvmlDevice_t device, unsigned clock, unsigned *mhz)
{
    NVML_ENTER_DEVICE(device, mhz);
    if (clock >= CLOCKS)
        return NVML_ERROR_INVALID_ARGUMENT;
    const struct sim_profile *profile = &sim_nvml_device(device)->profile;
    *mhz = (clock == CLOCK_MEMORY ? profile->memory_clock_khz : profile->clock_khz) / 1000;
    return NVML_SUCCESS;
}

#define CLOCK(name)                                                                                          \
    NVML_API(name, (nvmlDevice_t device, unsigned clock, unsigned *mhz))                                     \
    {                                                                                                        \
        return clock_mhz(device, clock, mhz);                                                                \
    }

CLOCK(nvmlDeviceGetClockInfo)
CLOCK(nvmlDeviceGetMaxClockInfo)
CLOCK(nvmlDeviceGetApplicationsClock)
CLOCK(nvmlDeviceGetDefaultApplicationsClock)
CLOCK(nvmlDeviceGetMaxCustomerBoostClock)

NVML_API(nvmlDeviceGetClock, (nvmlDevice_t device, unsigned clock, unsigned which, unsigned *mhz))
{
    return which > 3 ? NVML_ERROR_INVALID_ARGUMENT : clock_mhz(device, clock, mhz);
}

NVML_API(nvmlDeviceGetMinMaxClockOfPState,
         (nvmlDevice_t device, unsigned clock, unsigned pstate, unsigned *least, unsigned *most))
{
    NVML_ENTER_DEVICE(device, least);
    if (!most || clock >= CLOCKS || pstate >= PSTATES)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (pstate != P0)
        return NVML_ERROR_NOT_SUPPORTED;
    nvmlReturn_t result = clock_mhz(device, clock, most);
    *least = *most;
    return result;
}

struct clock_offset {
    unsigned version, clock, pstate;
    int offset_mhz, least_mhz, most_mhz;
};

NVML_API(nvmlDeviceGetClockOffsets, (nvmlDevice_t device, struct clock_offset *offset))
{
    NVML_ENTER_DEVICE(device, offset);
    if (offset->version != NVML_VERSION(*offset, 1))
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    if (offset->clock >= CLOCKS || offset->pstate != P0)
        return NVML_ERROR_INVALID_ARGUMENT;
    offset->offset_mhz = offset->least_mhz = offset->most_mhz = 0;
    return NVML_SUCCESS;
}

#define LINES_BYTES 2048 /* NVML_PERF_MODES_BUFFER_SIZE */

struct lines {
    unsigned version;
    char text[LINES_BYTES];
};

static nvmlReturn_t give_lines(nvmlDevice_t device, struct lines *lines, bool all)
{
    NVML_ENTER_DEVICE(device, lines);
    if (lines->version != NVML_VERSION(*lines, 1))
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    unsigned core = 0, memory = 0;
    clock_mhz(device, CLOCK_GRAPHICS, &core);
    clock_mhz(device, CLOCK_MEMORY, &memory);
    snprintf(lines->text, sizeof(lines->text), "%snvclock=%u, nvclockmin=%u, nvclockmax=%u, memclock=%u%s",
             all ? "perf=0, " : "", core, core, core, memory, all ? ", memclockmin=0" : "");
    return NVML_SUCCESS;
}

NVML_API(nvmlDeviceGetPerformanceModes, (nvmlDevice_t device, struct lines *lines))
{
    return give_lines(device, lines, true);
}

NVML_API(nvmlDeviceGetCurrentClockFreqs, (nvmlDevice_t device, struct lines *lines))
{
    return give_lines(device, lines, false);
}

NVML_API(nvmlDeviceGetSupportedMemoryClocks, (nvmlDevice_t device, unsigned *count, unsigned *mhz))
{
    NVML_ENTER_DEVICE(device, count);
    unsigned room = *count;
    *count = 1;
    return room && mhz ? clock_mhz(device, CLOCK_MEMORY, mhz) : NVML_ERROR_INSUFFICIENT_SIZE;
}

NVML_API(nvmlDeviceGetSupportedGraphicsClocks,
         (nvmlDevice_t device, unsigned memory_mhz, unsigned *count, unsigned *mhz))
{
    NVML_ENTER_DEVICE(device, count);
    unsigned room = *count, known = 0;
    clock_mhz(device, CLOCK_MEMORY, &known);
    if (memory_mhz != known)
        return NVML_ERROR_NOT_FOUND;
    *count = 1;
    return room && mhz ? clock_mhz(device, CLOCK_GRAPHICS, mhz) : NVML_ERROR_INSUFFICIENT_SIZE;
}

static nvmlReturn_t all_reasons(nvmlDevice_t device, unsigned long long *reasons)
{
    NVML_ENTER_DEVICE(device, reasons);
    *reasons = 0x1ff;
    return NVML_SUCCESS;
}

NVML_API(nvmlDeviceGetSupportedClocksEventReasons, (nvmlDevice_t device, unsigned long long *reasons))
{
    return all_reasons(device, reasons);
}

NVML_API(nvmlDeviceGetSupportedClocksThrottleReasons, (nvmlDevice_t device, unsigned long long *reasons))
{
    return all_reasons(device, reasons);
}

struct violation {
    unsigned long long now_us, limited_ns;
};

/* Nothing ever holds the clocks back. */
NVML_API(nvmlDeviceGetViolationStatus, (nvmlDevice_t device, unsigned policy, struct violation *violation))
{
    enum { LAST_LIMIT = 5, APPLICATION_CLOCKS = 10, BASE_CLOCKS = 11 };
    NVML_ENTER_DEVICE(device, violation);
    if (policy > LAST_LIMIT && policy != APPLICATION_CLOCKS && policy != BASE_CLOCKS)
        return NVML_ERROR_INVALID_ARGUMENT;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    *violation = (struct violation){(uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000, 0};
    return NVML_SUCCESS;
}

/* ---- performance states ---- */

NVML_API(nvmlDeviceGetSupportedPerformanceStates, (nvmlDevice_t device, unsigned *pstate, unsigned bytes))
{
    NVML_ENTER_DEVICE(device, pstate);
    unsigned room = bytes / sizeof(*pstate);
    if (!room)
        return NVML_ERROR_INSUFFICIENT_SIZE;
    pstate[0] = P0;
    for (unsigned i = 1; i < room; i++)
        pstate[i] = PSTATE_UNKNOWN;
    return NVML_SUCCESS;
}

struct pstates {
    unsigned flags;
    struct {
        unsigned present, percent, increase_above, decrease_below;
    } domain[8];
};

/* Graphics is the first domain, the others are not measured. */
NVML_API(nvmlDeviceGetDynamicPstatesInfo, (nvmlDevice_t device, struct pstates *pstates))
{
    NVML_ENTER_DEVICE(device, pstates);
    *pstates = (struct pstates){.domain[0] = {1, sim_nvml_busy_percent(device), 100, 0}};
    return NVML_SUCCESS;
}

/* ---- temperatures ---- */

NVML_API(nvmlDeviceGetTemperature, (nvmlDevice_t device, unsigned sensor, unsigned *celsius))
{
    NVML_ENTER_DEVICE(device, celsius);
    if (sensor != 0)
        return NVML_ERROR_INVALID_ARGUMENT;
    *celsius = CELSIUS;
    return NVML_SUCCESS;
}

struct temperature {
    unsigned version, sensor;
    int celsius;
};

NVML_API(nvmlDeviceGetTemperatureV, (nvmlDevice_t device, struct temperature *temperature))
{
    NVML_ENTER_DEVICE(device, temperature);
    if (temperature->version != NVML_VERSION(*temperature, 1))
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    if (temperature->sensor != 0)
        return NVML_ERROR_INVALID_ARGUMENT;
    temperature->celsius = CELSIUS;
    return NVML_SUCCESS;
}

NVML_API(nvmlDeviceGetTemperatureThreshold, (nvmlDevice_t device, unsigned threshold, unsigned *celsius))
{
    static const unsigned shutdown_slowdown_memory_gpu[] = {92, SLOWDOWN_CELSIUS, 95, 85};
    NVML_ENTER_DEVICE(device, celsius);
    if (threshold > 3)
        return NVML_ERROR_NOT_SUPPORTED;
    *celsius = shutdown_slowdown_memory_gpu[threshold];
    return NVML_SUCCESS;
}

struct margin {
    unsigned version;
    int celsius;
};

NVML_API(nvmlDeviceGetMarginTemperature, (nvmlDevice_t device, struct margin *margin))
{
    NVML_ENTER_DEVICE(device, margin);
    if (margin->version != NVML_VERSION(*margin, 1))
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    margin->celsius = SLOWDOWN_CELSIUS - CELSIUS;
    return NVML_SUCCESS;
}

struct thermal {
    unsigned count;
    struct {
        int controller, least, most, current, target;
    } sensor[3];
};

NVML_API(nvmlDeviceGetThermalSettings, (nvmlDevice_t device, unsigned which, struct thermal *thermal))
{
    enum { GPU_INTERNAL = 1, TARGET_GPU = 1, ALL = 15 };
    NVML_ENTER_DEVICE(device, thermal);
    if (which && which != ALL)
        return NVML_ERROR_INVALID_ARGUMENT;
    *thermal = (struct thermal){
        .count = 1,
        .sensor[0] = {GPU_INTERNAL, LEAST_CELSIUS, MOST_CELSIUS, CELSIUS, TARGET_GPU},
    };
    return NVML_SUCCESS;
}
