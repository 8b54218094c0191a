/* nvml_usage.c -- what NVML measures: memory, utilisation, and the processes that use a device. */
#include "nvml.h"

#include <string.h>
#include <time.h>

#define SAMPLE_NS     166666667ull /* the shortest time over which the driver measures */
#define NOT_AVAILABLE 0xffffffffu

/* GPU time of each process record when the device's measurement began, and its share in the last one. */
static uint64_t since_gpu_ns[SIM_MAX_DEVICES][SIM_MAX_PROCESSES + 1];
static unsigned process_percent[SIM_MAX_DEVICES][SIM_MAX_PROCESSES + 1];

static uint64_t realtime_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static unsigned percent(uint64_t part_ns, uint64_t whole_ns)
{
    uint64_t value = whole_ns ? (100 * part_ns + whole_ns / 2) / whole_ns : 0;
    return value > 100 ? 100 : (unsigned)value;
}

static uint64_t busy_ns(const struct sim_machine *m, uint32_t d)
{
    return sim_device_elapsed_ns(m, d) - sim_device_idle_ns(m, d);
}

static void begin(const struct sim_machine *m, struct sim_nvml_device *device)
{
    device->since_ns = m->now_ns;
    device->since_busy_ns = busy_ns(m, device->index);
    for (uint32_t p = 1; p <= SIM_MAX_PROCESSES && m->process[p].state != SIM_PROCESS_FREE; p++)
        since_gpu_ns[device->index][p] = sim_process_gpu_ns(m, p, device->index);
}

void sim_nvml_measure_from_now(void)
{
    struct sim_machine *m = sim_nvml.machine;
    sim_machine_lock(m);
    for (uint32_t d = 0; d < m->device_count; d++) {
        sim_nvml.device[d].measured_ns = 0;
        begin(m, &sim_nvml.device[d]);
    }
    sim_machine_unlock(m);
}

/* With the machine locked.  A measurement is complete after SAMPLE_NS; until the first one is, what there is so far
 * is the answer. */
static void measure(struct sim_nvml_device *device)
{
    struct sim_machine *m = sim_nvml.machine;
    uint64_t window_ns = m->now_ns - device->since_ns;
    if (window_ns < SAMPLE_NS && device->measured_ns)
        return;
    device->busy_percent = percent(busy_ns(m, device->index) - device->since_busy_ns, window_ns);
    for (uint32_t p = 1; p <= SIM_MAX_PROCESSES && m->process[p].state != SIM_PROCESS_FREE; p++) {
        uint64_t gpu_ns = sim_process_gpu_ns(m, p, device->index), since = since_gpu_ns[device->index][p];
        process_percent[device->index][p] = percent(gpu_ns > since ? gpu_ns - since : 0, window_ns);
    }
    if (window_ns < SAMPLE_NS)
        return;
    device->measured_ns = realtime_us() * 1000;
    begin(m, device);
}

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

struct utilization {
    unsigned gpu, memory;
};

NVML_API(nvmlDeviceGetUtilizationRates, (nvmlDevice_t device, struct utilization *utilization))
{
    NVML_ENTER_DEVICE(device, utilization);
    sim_machine_lock(sim_nvml.machine);
    measure(device);
    sim_machine_unlock(sim_nvml.machine);
    utilization->gpu = device->busy_percent;
    utilization->memory = device->busy_percent / 2; /* bandwidth is not modelled per kernel */
    return NVML_SUCCESS;
}

#define NO_ENGINE(name)                                                                                      \
    NVML_API(name, (nvmlDevice_t device, unsigned *percent_busy, unsigned *period_us))                       \
    {                                                                                                        \
        NVML_ENTER_DEVICE(device, percent_busy);                                                             \
        if (!period_us)                                                                                      \
            return NVML_ERROR_INVALID_ARGUMENT;                                                              \
        *percent_busy = 0;                                                                                   \
        *period_us = SAMPLE_NS / 1000;                                                                       \
        return NVML_SUCCESS;                                                                                 \
    }

NO_ENGINE(nvmlDeviceGetEncoderUtilization)
NO_ENGINE(nvmlDeviceGetDecoderUtilization)
NO_ENGINE(nvmlDeviceGetJpgUtilization)
NO_ENGINE(nvmlDeviceGetOfaUtilization)

/* ---- processes ---- */

struct process_v1 {
    unsigned pid;
    unsigned long long used_bytes;
};

/* Of the calls _v2 and _v3 alike. */
struct process_v2 {
    unsigned pid;
    unsigned long long used_bytes;
    unsigned gpu_instance, compute_instance;
};

struct user {
    unsigned pid;
    uint64_t used_bytes;
    unsigned percent;
};

/* With the machine locked: the processes with a context on the device.  A process that loaded the driver twice has two
 * records and is one user. */
static unsigned find_users(nvmlDevice_t device, struct user user[SIM_MAX_LIVE])
{
    struct sim_machine *m = sim_nvml.machine;
    unsigned count = 0;
    sim_machine_reap(m);
    for (uint32_t i = 0; i < m->live_count; i++) {
        const struct sim_process *process = &m->process[m->live[i]];
        const struct sim_process_device *usage = &process->device[device->index];
        unsigned at = 0;
        if (!usage->contexts || process->inbox.state == SIM_STATE_SAVED)
            continue;
        while (at < count && user[at].pid != process->pid)
            at++;
        if (at == count)
            user[count++] = (struct user){.pid = process->pid};
        user[at].used_bytes += usage->used_bytes;
        user[at].percent += process_percent[device->index][m->live[i]];
    }
    return count;
}

static nvmlReturn_t list(nvmlDevice_t device, unsigned *count, void *to, bool old)
{
    static __thread struct user user[SIM_MAX_LIVE];
    NVML_ENTER_DEVICE(device, count);
    sim_machine_lock(sim_nvml.machine);
    unsigned found = find_users(device, user), room = *count;
    sim_machine_unlock(sim_nvml.machine);
    *count = found;
    if (!found)
        return NVML_SUCCESS;
    if (room < found)
        return NVML_ERROR_INSUFFICIENT_SIZE;
    if (!to)
        return NVML_ERROR_INVALID_ARGUMENT;
    for (unsigned i = 0; i < found; i++)
        if (old)
            ((struct process_v1 *)to)[i] = (struct process_v1){user[i].pid, user[i].used_bytes};
        else
            ((struct process_v2 *)to)[i] =
                (struct process_v2){user[i].pid, user[i].used_bytes, NOT_AVAILABLE, NOT_AVAILABLE};
    return NVML_SUCCESS;
}

NVML_API(nvmlDeviceGetComputeRunningProcesses,
         (nvmlDevice_t device, unsigned *count, struct process_v1 *process))
{
    return list(device, count, process, true);
}

NVML_API(nvmlDeviceGetComputeRunningProcesses_v2,
         (nvmlDevice_t device, unsigned *count, struct process_v2 *process))
{
    return list(device, count, process, false);
}

NVML_API(nvmlDeviceGetComputeRunningProcesses_v3,
         (nvmlDevice_t device, unsigned *count, struct process_v2 *process))
{
    return list(device, count, process, false);
}

/* Nobody draws, and nobody uses MPS. */
#define NO_PROCESSES(name)                                                                                   \
    NVML_API(name, (nvmlDevice_t device, unsigned *count, void *process))                                    \
    {                                                                                                        \
        NVML_ENTER_DEVICE(device, count);                                                                    \
        *count = 0;                                                                                          \
        return NVML_SUCCESS;                                                                                 \
    }

NO_PROCESSES(nvmlDeviceGetGraphicsRunningProcesses)
NO_PROCESSES(nvmlDeviceGetGraphicsRunningProcesses_v2)
NO_PROCESSES(nvmlDeviceGetGraphicsRunningProcesses_v3)
NO_PROCESSES(nvmlDeviceGetMPSComputeRunningProcesses)
NO_PROCESSES(nvmlDeviceGetMPSComputeRunningProcesses_v2)
NO_PROCESSES(nvmlDeviceGetMPSComputeRunningProcesses_v3)

struct utilization_sample {
    unsigned pid;
    unsigned long long time_us;
    unsigned sm, memory, encoder, decoder;
};

NVML_API(nvmlDeviceGetProcessUtilization, (nvmlDevice_t device, struct utilization_sample *sample,
                                           unsigned *count, unsigned long long since_us))
{
    static __thread struct user user[SIM_MAX_LIVE];
    NVML_ENTER_DEVICE(device, count);
    sim_machine_lock(sim_nvml.machine);
    measure(device);
    unsigned found = find_users(device, user), room = *count;
    sim_machine_unlock(sim_nvml.machine);
    uint64_t time_us = device->measured_ns ? device->measured_ns / 1000 : realtime_us();
    if (!found || time_us <= since_us) {
        *count = 0;
        return NVML_ERROR_NOT_FOUND;
    }
    *count = found;
    if (!sample || room < found)
        return NVML_ERROR_INSUFFICIENT_SIZE;
    for (unsigned i = 0; i < found; i++)
        sample[i] = (struct utilization_sample){
            .pid = user[i].pid, .time_us = time_us, .sm = user[i].percent, .memory = user[i].percent / 2};
    return NVML_SUCCESS;
}
