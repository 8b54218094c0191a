/* nvml_process_usage.c -- how busy each process kept a device in the last samples. */
#include "nvml.h"

#define ANSWERS 100u /* for this many the driver tells a caller to make room, however many there are */

struct sample_v1 {
    unsigned pid;
    unsigned long long time_us;
    unsigned sm, memory, encoder, decoder;
};

struct sample_info {
    unsigned long long time_us;
    unsigned pid, sm, memory, encoder, decoder, jpeg, ofa;
};

struct share {
    uint32_t pid;
    uint64_t start_ticks;
    uint64_t gpu_ns;
    uint64_t last; /* sample in which it had the device */
};

/* Used with the machine locked. */
static struct share share[SIM_MAX_PROCESSES];

/* The newest sample of these in which the process had the device; 0: none. */
static uint64_t last_used(const struct sim_machine *m, uint32_t process, uint32_t device, uint64_t first,
                          uint64_t last)
{
    while (last >= first && sim_sample_process_ns(m, process, device, last, last) == 0)
        last--;
    return last >= first ? last : 0;
}

/* A process that loaded the driver twice has two records and is one. */
static unsigned find_shares(const struct sim_machine *m, uint32_t device, uint64_t first, uint64_t last)
{
    unsigned count = 0;
    for (uint32_t p = 1; p <= SIM_MAX_PROCESSES && m->process[p].state != SIM_PROCESS_FREE; p++) {
        const struct sim_process *process = &m->process[p];
        uint64_t used = last_used(m, p, device, first, last);
        unsigned at = 0;
        if (!used)
            continue;
        while (at < count && (share[at].pid != process->pid || share[at].start_ticks != process->start_ticks))
            at++;
        if (at == count)
            share[count++] = (struct share){.pid = process->pid, .start_ticks = process->start_ticks};
        share[at].gpu_ns += sim_sample_process_ns(m, p, device, first, last);
        share[at].last = share[at].last > used ? share[at].last : used;
    }
    return count;
}

/* The first sample that ended after `since_us`. */
static uint64_t first_after(const struct sim_machine *m, unsigned long long since_us)
{
    uint64_t sample = sim_sample_first(m);
    while (sample <= sim_sample_last(m) && m->sample_end_us[sample % SIM_SAMPLES] <= since_us)
        sample++;
    return sample;
}

/* One entry for each process that had the device in a sample newer than `since_us`: the mean over all of these samples,
 * and the time of the last one in which it had it.  Into one of the two arrays. */
static nvmlReturn_t read_shares(nvmlDevice_t device, unsigned long long since_us, unsigned *count,
                                struct sample_v1 *v1, struct sample_info *info)
{
    struct sim_machine *m = sim_nvml.machine;
    if (!v1 && !info) {
        *count = ANSWERS;
        return NVML_ERROR_INSUFFICIENT_SIZE;
    }
    sim_machine_lock(m);
    uint64_t first = first_after(m, since_us), last = sim_sample_last(m);
    unsigned found = find_shares(m, device->index, first, last), room = *count;
    for (unsigned i = 0; room >= found && i < found; i++) {
        unsigned sm = sim_nvml_percent(share[i].gpu_ns, (last - first + 1) * m->sample_ns);
        unsigned memory = SIM_NVML_MEMORY_PERCENT(sm);
        uint64_t time_us = m->sample_end_us[share[i].last % SIM_SAMPLES];
        if (v1)
            v1[i] = (struct sample_v1){.pid = share[i].pid, .time_us = time_us, .sm = sm, .memory = memory};
        else
            info[i] =
                (struct sample_info){.pid = share[i].pid, .time_us = time_us, .sm = sm, .memory = memory};
    }
    sim_machine_unlock(m);
    *count = found;
    if (!found)
        return NVML_ERROR_NOT_FOUND;
    return room < found ? NVML_ERROR_INSUFFICIENT_SIZE : NVML_SUCCESS;
}

NVML_API(nvmlDeviceGetProcessUtilization,
         (nvmlDevice_t device, struct sample_v1 *sample, unsigned *count, unsigned long long since_us))
{
    NVML_ENTER_DEVICE(device, count);
    return read_shares(device, since_us, count, sample, NULL);
}

struct processes_info {
    unsigned version, count;
    unsigned long long since_us;
    struct sample_info *sample;
};

NVML_API(nvmlDeviceGetProcessesUtilizationInfo, (nvmlDevice_t device, struct processes_info *info))
{
    NVML_ENTER_DEVICE(device, info);
    if (info->version != NVML_VERSION(*info, 1))
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    return read_shares(device, info->since_us, &info->count, NULL, info->sample);
}
