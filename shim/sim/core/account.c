/* account.c -- who is on the machine, what memory they hold, and the truth about both. */
#include "model.h"
#include "share.h"
#include "recognise.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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

uint64_t sim_pid_space(void)
{
    struct stat st;
    return stat("/proc/self/ns/pid", &st) == 0 ? st.st_ino : 0;
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
    struct sim_process *p = &m->process[process];
    if (!process || !sim_have_room(p, sizeof(*p)))
        return 0;
    for (uint32_t d = 0; d < m->device_count && p->state == SIM_PROCESS_ENDED; d++) {
        SIM_PUT(m, m->device[d].forgotten_gpu_ns, m->device[d].forgotten_gpu_ns + p->device[d].gpu_ns);
        SIM_PUT(m, m->device[d].forgotten_sm_ns, m->device[d].forgotten_sm_ns + p->device[d].sm_ns);
    }
    SIM_PUT(m, p->state, SIM_PROCESS_FREE); /* until it is whole */
    sim_commit(m);
    memset(p, 0, sizeof(*p));
    p->pid = (uint32_t)getpid();
    p->start_ticks = start_ticks();
    p->pid_space = sim_pid_space();
    p->first_ns = m->now_ns;
    sim_read_line("/proc/self/comm", p->command, sizeof(p->command));
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
    sim_shares_leave(m, process);
    for (uint32_t d = 0; d < m->device_count; d++) {
        for (uint32_t c = m->device[d].first_context, next; c; c = next) {
            next = m->context[c].next;
            if (m->context[c].process == process)
                sim_shared_context_close(m, c);
        }
        for (int kind = 0; kind < SIM_MEM_KINDS; kind++)
            sim_memory_release(m, process, d, kind, p->device[d].memory[kind]);
    }
    sim_memory_unpin(m, process, p->pinned_bytes);
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

void sim_memory_add(struct sim_machine *m, uint32_t process, uint32_t device, enum sim_memory_kind kind,
                    uint64_t bytes)
{
    struct sim_process_device *usage = &m->process[process].device[device];
    SIM_PUT(m, usage->memory[kind], usage->memory[kind] + bytes);
    SIM_PUT(m, usage->used_bytes, usage->used_bytes + bytes);
    if (usage->used_bytes > usage->peak_bytes)
        SIM_PUT(m, usage->peak_bytes, usage->used_bytes);
}

int sim_memory_charge(struct sim_machine *m, uint32_t process, uint32_t device, enum sim_memory_kind kind,
                      uint64_t bytes)
{
    struct sim_device *d = &m->device[device];
    if (bytes > d->profile.memory_bytes - d->used_bytes)
        return -1;
    SIM_PUT(m, d->used_bytes, d->used_bytes + bytes);
    sim_memory_add(m, process, device, kind, bytes);
    sim_commit(m);
    return 0;
}

void sim_memory_deny(struct sim_machine *m, uint32_t process, uint32_t device)
{
    struct sim_process_device *usage = &m->process[process].device[device];
    SIM_PUT(m, usage->denied, usage->denied + 1);
    sim_commit(m);
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

void sim_memory_pin(struct sim_machine *m, uint32_t process, uint64_t bytes)
{
    struct sim_process *p = &m->process[process];
    SIM_PUT(m, p->pinned_bytes, p->pinned_bytes + bytes);
    if (p->pinned_bytes > p->peak_pinned_bytes)
        SIM_PUT(m, p->peak_pinned_bytes, p->pinned_bytes);
    sim_commit(m);
}

void sim_memory_unpin(struct sim_machine *m, uint32_t process, uint64_t bytes)
{
    SIM_PUT(m, m->process[process].pinned_bytes, m->process[process].pinned_bytes - bytes);
    sim_commit(m);
}

/* -------- time -------- */

/* A nanosecond of several contexts is divided among them as they divide the SMs in use: of `spent` ns, what belongs to
 * those up to and with the `upto`-th SM. */
static uint64_t part(uint64_t spent, uint32_t upto, uint32_t all)
{
    return all ? (uint64_t)((unsigned __int128)spent * upto / all) : 0;
}

static uint32_t sms_of_group(const struct sim_machine *m, uint32_t context)
{
    uint32_t sms = 0;
    for (uint32_t c = context; c; c = sim_mate_after(m, context, c))
        sms += m->context[c].sms_in_use;
    return sms;
}

static void add_gpu_ns(struct sim_machine *m, uint32_t context, uint64_t ns)
{
    struct sim_shared_context *ctx = &m->context[context];
    struct sim_process_device *usage = &m->process[ctx->process].device[ctx->device];
    SIM_PUT(m, ctx->gpu_ns, ctx->gpu_ns + ns);
    SIM_PUT(m, usage->gpu_ns, usage->gpu_ns + ns);
}

/* Without a kernel that holds SMs all of it is the first one's. */
static void divide(struct sim_machine *m, const struct sim_device *d, uint64_t spent)
{
    uint32_t all = sms_of_group(m, d->current), before = 0;
    if (!all)
        return add_gpu_ns(m, d->current, spent);
    for (uint32_t c = d->current; c; c = sim_mate_after(m, d->current, c)) {
        uint32_t own = m->context[c].sms_in_use;
        if (own)
            add_gpu_ns(m, c, part(spent, before + own, all) - part(spent, before, all));
        before += own;
    }
}

void sim_account(struct sim_machine *m, struct sim_device *d)
{
    uint64_t spent = m->now_ns - d->phase_start_ns;
    if (spent == 0)
        return;
    if (d->phase == SIM_PHASE_IDLE)
        SIM_PUT(m, d->idle_ns, d->idle_ns + spent);
    else if (d->phase == SIM_PHASE_SWITCH)
        SIM_PUT(m, d->switch_ns, d->switch_ns + spent);
    else {
        SIM_PUT(m, d->busy_ns, d->busy_ns + spent);
        if (m->context[d->current].mate == d->current)
            add_gpu_ns(m, d->current, spent);
        else
            divide(m, d, spent);
    }
    SIM_PUT(m, d->phase_start_ns, m->now_ns);
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

/* Of the time that is not accounted yet. */
static uint64_t open_gpu_ns(const struct sim_machine *m, uint32_t context)
{
    const struct sim_device *d = &m->device[m->context[context].device];
    if (!sim_on_engine(m, context))
        return 0;
    uint64_t spent = m->now_ns - d->phase_start_ns;
    uint32_t all = sms_of_group(m, d->current), before = 0;
    if (!all)
        return context == d->current ? spent : 0;
    for (uint32_t c = d->current; c != context; c = m->context[c].mate)
        before += m->context[c].sms_in_use;
    return part(spent, before + m->context[context].sms_in_use, all) - part(spent, before, all);
}

uint64_t sim_context_gpu_ns(const struct sim_machine *m, uint32_t context)
{
    return m->context[context].gpu_ns + open_gpu_ns(m, context);
}

static uint64_t open_sm_ns(const struct sim_machine *m, uint32_t context)
{
    uint64_t sm_ns = 0;
    for (uint32_t q = m->context[context].running ? m->context[context].first : 0; q; q = m->queue[q].next)
        if (sim_is_running(&m->queue[q]))
            sm_ns += sim_kernel_done_sm_ns(m, q);
    return sm_ns;
}

uint64_t sim_context_sm_ns(const struct sim_machine *m, uint32_t context)
{
    return m->context[context].sm_ns + open_sm_ns(m, context);
}

uint64_t sim_context_queued(const struct sim_machine *m, uint32_t context)
{
    uint64_t queued = 0;
    for (uint32_t q = m->context[context].first; q; q = m->queue[q].next)
        queued += m->queue[q].tail - m->queue[q].head;
    return queued;
}

static uint64_t sum_of(const struct sim_machine *m, uint32_t process, uint32_t device,
                       uint64_t (*of)(const struct sim_machine *, uint32_t context))
{
    uint64_t sum = 0;
    if (m->process[process].device[device].contexts)
        for (uint32_t c = m->device[device].first_context; c; c = m->context[c].next)
            if (m->context[c].process == process)
                sum += of(m, c);
    return sum;
}

uint64_t sim_process_gpu_ns(const struct sim_machine *m, uint32_t process, uint32_t device)
{
    return m->process[process].device[device].gpu_ns + sum_of(m, process, device, open_gpu_ns);
}

uint64_t sim_process_sm_ns(const struct sim_machine *m, uint32_t process, uint32_t device)
{
    return m->process[process].device[device].sm_ns + sum_of(m, process, device, open_sm_ns);
}

uint64_t sim_process_queued(const struct sim_machine *m, uint32_t process, uint32_t device)
{
    return sum_of(m, process, device, sim_context_queued);
}
