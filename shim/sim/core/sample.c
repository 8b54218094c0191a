/* sample.c -- what NVML measures in the background: how long each device and process had been busy at regular moments.
 *
 * The model stops at the end of every sample period, wherever it is in its work, and notes the sums so far: a sample
 * is the difference of two notes, exact and the same for whoever asks.  A note only says again what the accounts say,
 * so it needs no way back: who is killed while he takes it leaves the period open, and the next owner of the lock,
 * who finds the model at the same moment, takes it once more. */
#include "model.h"

#include <time.h>

#define NS_PER_S  1000000000ull
#define NS_PER_US 1000ull

static uint64_t end_ns(const struct sim_machine *m, uint64_t sample)
{
    return m->boot_ns + sample * m->sample_ns;
}

/* CLOCK_REALTIME less CLOCK_MONOTONIC; the virtual clock's own, since a look at it would take time. */
static uint64_t epoch_ns(const struct sim_machine *m)
{
    struct timespec t;
    if (m->virtual_clock)
        return SIM_VIRTUAL_EPOCH_S * NS_PER_S;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec - sim_now_ns();
}

static void note(struct sim_machine *m, uint64_t sample, uint64_t epoch)
{
    uint32_t slot = sample % SIM_SAMPLES;
    m->sample_end_us[slot] = (m->now_ns + epoch) / NS_PER_US;
    for (uint32_t d = 0; d < m->device_count; d++) {
        sim_account(m, &m->device[d]);
        sim_commit(m);
        m->device[d].sampled_busy_ns[slot] = sim_device_elapsed_ns(m, d) - m->device[d].idle_ns;
        for (uint32_t i = 0; i < m->live_count; i++) {
            struct sim_process_device *usage = &m->process[m->live[i]].device[d];
            usage->sampled_gpu_ns[slot] = usage->gpu_ns;
        }
    }
}

void sim_sample_until(struct sim_machine *m, uint64_t now)
{
    uint64_t epoch = epoch_ns(m), last = (now - m->boot_ns) / m->sample_ns, sample = sim_sample_last(m) + 1;
    if (last - sample >= SIM_SAMPLES)
        sample = last - SIM_SAMPLES + 1; /* nobody sees what was before */
    for (; sample <= last; sample++) {
        m->now_ns = end_ns(m, sample);
        if (m->now_ns >= m->next_ns)
            sim_advance(m);
        note(m, sample, epoch);
        atomic_signal_fence(memory_order_seq_cst);
        m->sample_due_ns = end_ns(m, sample + 1);
    }
}

uint64_t sim_sample_last(const struct sim_machine *m)
{
    return (m->sample_due_ns - m->boot_ns) / m->sample_ns - 1;
}

uint64_t sim_sample_first(const struct sim_machine *m)
{
    uint64_t last = sim_sample_last(m);
    return last < SIM_SAMPLES ? 1 : last - SIM_SAMPLES + 2; /* the oldest note is only where it begins */
}

uint64_t sim_sample_device_ns(const struct sim_machine *m, uint32_t device, uint64_t first, uint64_t last)
{
    const uint64_t *noted = m->device[device].sampled_busy_ns;
    return noted[last % SIM_SAMPLES] - noted[(first - 1) % SIM_SAMPLES];
}

/* What a process had used by the end of a sample: noted while it lived. */
static uint64_t used_ns(const struct sim_machine *m, uint32_t process, uint32_t device, uint64_t sample)
{
    const struct sim_process *p = &m->process[process];
    uint64_t end = end_ns(m, sample);
    if (p->first_ns >= end)
        return 0;
    if (p->state == SIM_PROCESS_ENDED && p->ended_ns <= end)
        return p->device[device].gpu_ns;
    return p->device[device].sampled_gpu_ns[sample % SIM_SAMPLES];
}

uint64_t sim_sample_process_ns(const struct sim_machine *m, uint32_t process, uint32_t device, uint64_t first,
                               uint64_t last)
{
    return used_ns(m, process, device, last) - used_ns(m, process, device, first - 1);
}
