/* checkpointed.c -- what the helper thread does when its process is to be locked, saved, restored or unlocked.
 *
 * Locked: the gate is closed, no call is inside, nothing is queued.  Saved: device memory is in host memory and is
 * given back, contexts and streams stay.  The time that the data takes over the bus is waited for. */
#include "checkpoint.h"
#include "process.h"

#include <string.h>

#define LOOK_NS 100000 /* whether the last call has left and the last work is done */

static bool closing; /* a lock is being worked on, the gate is closed */
static uint64_t saved[SIM_MAX_DEVICES][SIM_MEM_KINDS];

static struct sim_process *self(void)
{
    return &sim_driver.machine->process[sim_driver.process];
}

/* Unless the one who asked has given up. */
static bool answer(uint64_t number, CUresult result, CUprocessState state)
{
    struct sim_machine *m = sim_driver.machine;
    struct sim_inbox *inbox = &self()->inbox;
    sim_machine_lock(m);
    bool wanted = inbox->request != SIM_REQUEST_NONE && inbox->number == number;
    if (wanted) {
        SIM_PUT(m, inbox->state, (uint32_t)state);
        SIM_PUT(m, inbox->answer[number % SIM_ANSWERS], (uint32_t)result);
        SIM_PUT(m, inbox->answered, number);
        SIM_PUT(m, inbox->request, SIM_REQUEST_NONE);
        sim_commit(m);
        sim_wake(&inbox->turns);
    }
    sim_machine_unlock(m);
    return wanted;
}

/* -------- locking -------- */

static bool all_done(void)
{
    struct sim_machine *m = sim_driver.machine;
    uint64_t queued = 0;
    sim_machine_lock(m);
    for (uint32_t d = 0; d < m->device_count; d++)
        queued += sim_process_queued(m, sim_driver.process, d);
    sim_machine_unlock(m);
    if (queued)
        return false;
    sim_effects_run();
    return true;
}

static uint64_t lock(const struct sim_inbox *inbox)
{
    if (!closing)
        sim_gate_close();
    closing = true;
    CUresult result = CUDA_SUCCESS;
    if (!sim_gate_quiet() || !all_done()) {
        if (sim_now_ns() < inbox->deadline_ns)
            return sim_now_ns() + LOOK_NS;
        result = CUDA_ERROR_NOT_READY;
    }
    bool locked = result == CUDA_SUCCESS;
    closing = false;
    if (!answer(inbox->number, result, locked ? CU_PROCESS_STATE_LOCKED : CU_PROCESS_STATE_RUNNING) ||
        !locked)
        sim_gate_open();
    return UINT64_MAX;
}

/* -------- saving and restoring -------- */

/* Everything that was saved goes over the bus, device by device side by side. */
static void wait_for_transfer(void)
{
    const struct sim_machine *m = sim_driver.machine;
    uint64_t longest_ns = 0;
    for (uint32_t d = 0; d < m->device_count; d++) {
        uint64_t bytes = 0;
        for (int kind = 0; kind < SIM_MEM_KINDS; kind++)
            bytes += kind == SIM_MEM_CONTEXT ? 0 : saved[d][kind];
        uint64_t ns = (uint64_t)((double)bytes * 1000.0 / m->device[d].profile.host_bytes_per_us);
        longest_ns = ns > longest_ns ? ns : longest_ns;
    }
    sim_sleep_until(NULL, 0, sim_now_ns() + longest_ns);
}

/* With the lock held: give back what was charged for the first `count` kinds over all devices. */
static void release(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        sim_memory_release(sim_driver.machine, sim_driver.process, i / SIM_MEM_KINDS, i % SIM_MEM_KINDS,
                           saved[i / SIM_MEM_KINDS][i % SIM_MEM_KINDS]);
}

static void save(const struct sim_inbox *inbox)
{
    struct sim_machine *m = sim_driver.machine;
    CUresult result = sim_memory_parkable();
    if (result != CUDA_SUCCESS) {
        answer(inbox->number, result, CU_PROCESS_STATE_LOCKED);
        return;
    }
    sim_machine_lock(m);
    for (uint32_t d = 0; d < m->device_count; d++)
        memcpy(saved[d], self()->device[d].memory, sizeof(saved[d]));
    sim_machine_unlock(m);
    if (!sim_memory_park()) {
        answer(inbox->number, CUDA_ERROR_OPERATING_SYSTEM, CU_PROCESS_STATE_FAILED);
        return;
    }
    wait_for_transfer();
    sim_machine_lock(m);
    release(m->device_count * SIM_MEM_KINDS);
    sim_machine_unlock(m);
    answer(inbox->number, CUDA_SUCCESS, CU_PROCESS_STATE_CHECKPOINTED);
}

/* With the lock held: all or nothing. */
static bool charge_again(void)
{
    struct sim_machine *m = sim_driver.machine;
    for (uint32_t i = 0; i < m->device_count * SIM_MEM_KINDS; i++)
        if (sim_memory_charge(m, sim_driver.process, i / SIM_MEM_KINDS, i % SIM_MEM_KINDS,
                              saved[i / SIM_MEM_KINDS][i % SIM_MEM_KINDS])) {
            release(i);
            return false;
        }
    return true;
}

/* Whether every device that holds something of ours is named. */
static bool names_all(const struct sim_inbox *inbox)
{
    for (uint32_t d = 0; d < sim_driver.machine->device_count; d++)
        if (self()->device[d].contexts && inbox->new_device[d] == SIM_MAX_DEVICES)
            return false;
    return true;
}

/* A device number keeps its contexts, and means the device on which they are now.  Numbers of devices that are taken
 * by that get those that became free. */
static void renumber(const struct sim_inbox *inbox)
{
    bool taken[SIM_MAX_DEVICES] = {false};
    for (int i = 0; i < sim_driver.device_count; i++)
        if (inbox->new_device[sim_driver.device[i]] != SIM_MAX_DEVICES)
            taken[inbox->new_device[sim_driver.device[i]]] = true;
    uint32_t before[SIM_MAX_DEVICES];
    memcpy(before, sim_driver.device, sizeof(before));
    for (int i = 0; i < sim_driver.device_count; i++) {
        uint32_t to = inbox->new_device[before[i]];
        if (to != SIM_MAX_DEVICES)
            sim_driver.device[i] = to;
        else if (taken[before[i]])
            for (int j = 0; j < sim_driver.device_count; j++)
                if (!taken[before[j]]) {
                    taken[before[j]] = true;
                    sim_driver.device[i] = before[j];
                    break;
                }
    }
}

/* With the lock held. */
static void move_contexts(const struct sim_inbox *inbox)
{
    struct sim_machine *m = sim_driver.machine;
    uint64_t before[SIM_MAX_DEVICES][SIM_MEM_KINDS];
    sim_contexts_move(m, sim_driver.process, inbox->new_device);
    memcpy(before, saved, sizeof(before));
    memset(saved, 0, sizeof(saved));
    for (uint32_t d = 0; d < m->device_count; d++)
        for (int kind = 0; kind < SIM_MEM_KINDS; kind++)
            saved[inbox->new_device[d] == SIM_MAX_DEVICES ? d : inbox->new_device[d]][kind] +=
                before[d][kind];
    renumber(inbox);
}

/* What is saved can be charged to where it goes: nothing has moved before that is sure. */
static bool has_room(const struct sim_inbox *inbox)
{
    const struct sim_machine *m = sim_driver.machine;
    for (uint32_t d = 0; d < m->device_count; d++) {
        uint32_t to = inbox->moves && inbox->new_device[d] != SIM_MAX_DEVICES ? inbox->new_device[d] : d;
        uint64_t bytes = 0;
        for (int kind = 0; kind < SIM_MEM_KINDS; kind++)
            bytes += saved[d][kind];
        if (bytes &&
            (m->device[to].lost || bytes > m->device[to].profile.memory_bytes - m->device[to].used_bytes))
            return false;
    }
    return true;
}

static void restore(const struct sim_inbox *inbox)
{
    struct sim_machine *m = sim_driver.machine;
    CUresult result = CUDA_SUCCESS;
    sim_machine_lock(m);
    sim_machine_reap(m);
    if (inbox->moves && !names_all(inbox))
        result = CUDA_ERROR_INVALID_VALUE;
    else if (!has_room(inbox))
        result = CUDA_ERROR_OUT_OF_MEMORY;
    else {
        if (inbox->moves)
            move_contexts(inbox);
        if (!charge_again())
            result = CUDA_ERROR_OUT_OF_MEMORY;
    }
    sim_machine_unlock(m);
    if (result != CUDA_SUCCESS) {
        answer(inbox->number, result, CU_PROCESS_STATE_CHECKPOINTED);
        return;
    }
    wait_for_transfer();
    if (sim_memory_unpark())
        answer(inbox->number, CUDA_SUCCESS, CU_PROCESS_STATE_LOCKED);
    else
        answer(inbox->number, CUDA_ERROR_OPERATING_SYSTEM, CU_PROCESS_STATE_FAILED);
}

/* -------- requests -------- */

/* The state in which each makes sense. */
static CUprocessState needs(uint32_t request)
{
    return request == SIM_REQUEST_LOCK      ? CU_PROCESS_STATE_RUNNING
           : request == SIM_REQUEST_RESTORE ? CU_PROCESS_STATE_CHECKPOINTED
                                            : CU_PROCESS_STATE_LOCKED;
}

uint64_t sim_checkpoint_serve(void)
{
    struct sim_machine *m = sim_driver.machine;
    struct sim_inbox *inbox = &self()->inbox, asked;
    if (atomic_load(&inbox->request) == SIM_REQUEST_NONE && !closing)
        return UINT64_MAX;
    sim_machine_lock(m);
    memcpy(&asked, inbox, sizeof(asked));
    sim_machine_unlock(m);
    if (closing && asked.request != SIM_REQUEST_LOCK) { /* the lock was given up */
        closing = false;
        sim_gate_open();
    }
    if (asked.request == SIM_REQUEST_NONE)
        return UINT64_MAX;
    if (asked.state != needs(asked.request)) {
        answer(asked.number, CUDA_ERROR_ILLEGAL_STATE, (CUprocessState)asked.state);
        return UINT64_MAX;
    }
    switch (asked.request) {
    case SIM_REQUEST_LOCK:
        return lock(&asked);
    case SIM_REQUEST_SAVE:
        save(&asked);
        break;
    case SIM_REQUEST_RESTORE:
        restore(&asked);
        break;
    default:
        answer(asked.number, CUDA_SUCCESS, CU_PROCESS_STATE_RUNNING);
        sim_gate_open();
        break;
    }
    return UINT64_MAX;
}
