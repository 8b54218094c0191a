/* lock.c -- entering the machine: undo what a dead owner left half done, bury dead processes, advance to now. */
#include "model.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

#define REAP_INTERVAL_NS 2000000

/* Newest first, so that a word changed twice ends at its first value. */
static void roll_back(struct sim_machine *m)
{
    while (m->journal_count > 0) {
        const struct sim_undo *undo = &m->journal[m->journal_count - 1];
        char *word = (char *)m + (undo->offset & ~SIM_UNDO_32);
        if (undo->offset & SIM_UNDO_32)
            *(uint32_t *)word = (uint32_t)undo->old;
        else
            *(uint64_t *)word = undo->old;
        atomic_signal_fence(memory_order_seq_cst);
        m->journal_count--;
    }
}

/* A process has a life from the end of its cuInit.  Before, only its record is at stake; its pid says nothing to a
 * process with other pids, which leaves it to others. */
static bool is_dead(struct sim_process *process)
{
    if (!process->has_life)
        return process->pid_space == sim_pid_space() && kill((pid_t)process->pid, 0) != 0 && errno == ESRCH;
    int result = pthread_mutex_trylock(&process->life);
    if (result == 0 || result == EOWNERDEAD) /* kept, it would stay on this thread's list of locks */
        pthread_mutex_unlock(&process->life);
    return result == 0 || result == EOWNERDEAD || result == ENOTRECOVERABLE;
}

void sim_machine_reap(struct sim_machine *m)
{
    for (uint32_t i = 0; i < m->live_count;) {
        uint32_t process = m->live[i];
        if (is_dead(&m->process[process]))
            sim_process_end(m, process); /* takes it off the list */
        else
            i++;
    }
}

void sim_machine_come_to(struct sim_machine *m, uint64_t now)
{
    if (now >= m->sample_due_ns)
        sim_sample_until(m, now);
    if (now > m->now_ns)
        m->now_ns = now;
    if (m->now_ns >= m->next_ns)
        sim_advance(m);
}

#define BURIED_AT_ONCE 16

/* When a killed process died only the kernel knows, between the last look and this one: its work went on until now,
 * and unsure_ns says how much of that it may not have done. */
static void bury_dead(struct sim_machine *m, uint64_t now)
{
    uint32_t dead[BURIED_AT_ONCE], count = 0;
    uint64_t before_ns[BURIED_AT_ONCE][SIM_MAX_DEVICES];
    for (uint32_t i = 0; i < m->live_count && count < BURIED_AT_ONCE; i++) {
        if (!is_dead(&m->process[m->live[i]]))
            continue;
        dead[count] = m->live[i];
        for (uint32_t d = 0; d < m->device_count; d++)
            before_ns[count][d] = sim_process_gpu_ns(m, dead[count], d);
        count++;
    }
    if (count > 0)
        sim_machine_come_to(m, now);
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t d = 0; d < m->device_count; d++)
            m->process[dead[i]].device[d].unsure_ns = sim_process_gpu_ns(m, dead[i], d) - before_ns[i][d];
        sim_process_end(m, dead[i]);
    }
}

void sim_machine_lock(struct sim_machine *m)
{
    sim_spend_call();
    if (pthread_mutex_lock(&m->lock) == EOWNERDEAD) {
        roll_back(m);
        pthread_mutex_consistent(&m->lock);
    }
    uint64_t now = m->virtual_clock && !sim_on_virtual_clock() ? m->now_ns : sim_now_ns();
    if (now >= m->reap_ns) {
        bury_dead(m, now);
        m->reap_ns = now + REAP_INTERVAL_NS;
    }
    sim_machine_come_to(m, now);
}

void sim_machine_unlock(struct sim_machine *m)
{
    sim_check(m);
    pthread_mutex_unlock(&m->lock);
}
