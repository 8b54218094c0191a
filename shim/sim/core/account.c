/* account.c -- who is on the machine, what memory they hold, and the truth about both. */
#include "machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Field 22 of /proc/self/stat; the command in field 2 may hold spaces and parentheses. */
static uint64_t start_ticks(void)
{
    char text[1024];
    FILE *file = fopen("/proc/self/stat", "re");
    if (!file)
        return 0;
    size_t length = fread(text, 1, sizeof(text) - 1, file);
    fclose(file);
    text[length] = '\0';
    char *at = strrchr(text, ')');
    for (int field = 2; at && field < 22; field++)
        at = strchr(at + 1, ' ');
    return at ? strtoull(at, NULL, 10) : 0;
}

static void read_command(char *command, size_t size)
{
    FILE *file = fopen("/proc/self/comm", "re");
    size_t length = file ? fread(command, 1, size - 1, file) : 0;
    if (file)
        fclose(file);
    command[length] = '\0';
    command[strcspn(command, "\n")] = '\0';
}

/* A record never used, else the one that ended first. */
static uint32_t find_record(const struct sim_machine *m)
{
    uint32_t oldest = 0;
    for (uint32_t p = 1; p <= SIM_MAX_PROCESSES; p++) {
        if (m->process[p].state == SIM_PROCESS_FREE)
            return p;
        if (m->process[p].state == SIM_PROCESS_ENDED &&
            (!oldest || m->process[p].ended_ns < m->process[oldest].ended_ns))
            oldest = p;
    }
    return oldest;
}

uint32_t sim_process_open(struct sim_machine *m)
{
    if (m->live_count == SIM_MAX_LIVE)
        sim_machine_reap(m);
    uint32_t process = m->live_count < SIM_MAX_LIVE ? find_record(m) : 0;
    if (!process)
        return 0;
    struct sim_process *p = &m->process[process];
    for (uint32_t d = 0; d < m->device_count && p->state == SIM_PROCESS_ENDED; d++)
        SIM_PUT(m, m->device[d].forgotten_gpu_ns, m->device[d].forgotten_gpu_ns + p->device[d].gpu_ns);
    SIM_PUT(m, p->state, SIM_PROCESS_FREE); /* until it is whole */
    sim_commit(m);
    memset(p, 0, sizeof(*p));
    p->pid = (uint32_t)getpid();
    p->start_ticks = start_ticks();
    p->first_ns = m->now_ns;
    read_command(p->command, sizeof(p->command));
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&p->life, &attributes);
    pthread_mutexattr_destroy(&attributes);
    SIM_PUT(m, p->state, SIM_PROCESS_LIVE);
    SIM_PUT(m, m->live[m->live_count], process);
    SIM_PUT(m, m->live_count, m->live_count + 1);
    sim_commit(m);
    return process;
}

void sim_process_end(struct sim_machine *m, uint32_t process)
{
    struct sim_process *p = &m->process[process];
    for (uint32_t d = 0; d < m->device_count; d++) {
        for (uint32_t c = m->device[d].first_context, next; c; c = next) {
            next = m->context[c].next;
            if (m->context[c].process == process)
                sim_shared_context_close(m, c);
        }
        for (int kind = 0; kind < SIM_MEM_KINDS; kind++)
            sim_memory_release(m, process, d, kind, p->device[d].memory[kind]);
    }
    for (uint32_t block = 0; block < SIM_EVENT_BLOCKS; block++)
        if (m->block_owner[block] == process)
            m->block_owner[block] = 0;
    uint32_t at = 0;
    while (m->live[at] != process)
        at++;
    SIM_PUT(m, m->live[at], m->live[m->live_count - 1]);
    SIM_PUT(m, m->live_count, m->live_count - 1);
    SIM_PUT(m, p->ended_ns, m->now_ns);
    SIM_PUT(m, p->state, SIM_PROCESS_ENDED);
    sim_commit(m);
}

int sim_memory_charge(struct sim_machine *m, uint32_t process, uint32_t device, enum sim_memory_kind kind,
                      uint64_t bytes)
{
    struct sim_device *d = &m->device[device];
    struct sim_process_device *usage = &m->process[process].device[device];
    if (bytes > d->profile.memory_bytes - d->used_bytes)
        return -1;
    SIM_PUT(m, d->used_bytes, d->used_bytes + bytes);
    SIM_PUT(m, usage->memory[kind], usage->memory[kind] + bytes);
    SIM_PUT(m, usage->used_bytes, usage->used_bytes + bytes);
    if (usage->used_bytes > usage->peak_bytes)
        SIM_PUT(m, usage->peak_bytes, usage->used_bytes);
    sim_commit(m);
    return 0;
}

void sim_memory_release(struct sim_machine *m, uint32_t process, uint32_t device, enum sim_memory_kind kind,
                        uint64_t bytes)
{
    struct sim_device *d = &m->device[device];
    struct sim_process_device *usage = &m->process[process].device[device];
    SIM_PUT(m, d->used_bytes, d->used_bytes - bytes);
    SIM_PUT(m, usage->memory[kind], usage->memory[kind] - bytes);
    SIM_PUT(m, usage->used_bytes, usage->used_bytes - bytes);
    sim_commit(m);
}

/* -------- truth -------- */

static uint64_t in_phase(const struct sim_machine *m, uint32_t device, enum sim_phase phase)
{
    const struct sim_device *d = &m->device[device];
    return d->phase == (uint32_t)phase ? m->now_ns - d->phase_start_ns : 0;
}

uint64_t sim_device_elapsed_ns(const struct sim_machine *m, uint32_t device)
{
    return m->now_ns - m->boot_ns;
}

uint64_t sim_device_idle_ns(const struct sim_machine *m, uint32_t device)
{
    return m->device[device].idle_ns + in_phase(m, device, SIM_PHASE_IDLE);
}

uint64_t sim_device_switch_ns(const struct sim_machine *m, uint32_t device)
{
    return m->device[device].switch_ns + in_phase(m, device, SIM_PHASE_SWITCH);
}

uint64_t sim_process_gpu_ns(const struct sim_machine *m, uint32_t process, uint32_t device)
{
    const struct sim_device *d = &m->device[device];
    bool on_engine = d->phase == SIM_PHASE_RUN && m->context[d->current].process == process;
    return m->process[process].device[device].gpu_ns + (on_engine ? m->now_ns - d->phase_start_ns : 0);
}

uint64_t sim_process_queued(const struct sim_machine *m, uint32_t process, uint32_t device)
{
    uint64_t queued = 0;
    for (uint32_t c = m->device[device].first_context; c; c = m->context[c].next)
        if (m->context[c].process == process)
            for (uint32_t q = m->context[c].first; q; q = m->queue[q].next)
                queued += m->queue[q].tail - m->queue[q].head;
    return queued;
}
