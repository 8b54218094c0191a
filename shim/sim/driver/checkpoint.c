/* checkpoint.c -- asking a process, this one or another, to lock, save, restore and unlock itself.
 *
 * A request goes into the inbox of the process's record, and its helper thread does what is asked (checkpointed.c).
 * These calls pass no gate, since they are what opens it.  They need no cuInit where they ask about
 * another process: NVIDIA's own tests make none. */
#include "checkpoint.h"
#include "process.h"

#include <string.h>
#include <unistd.h>

SIM_EXPORT CUresult cuInit(unsigned flags);

#define LOOK_NS   20000000 /* whether the asked process still lives */
#define NS_PER_MS 1000000ull
#define ENTER(name, pid)                                                                                     \
    do {                                                                                                     \
        if (!(atomic_load(&sim_gate) & SIM_GATE_READY))                                                      \
            SIM_TRY(pid <= 0 || pid == (int)getpid() ? sim_not_ready() : cuInit(0));                         \
        uint32_t gate_ = atomic_load(&sim_gate);                                                             \
        if (gate_ & SIM_GATE_FAULTS)                                                                         \
            SIM_TRY(sim_fault(#name));                                                                       \
    } while (0)

static bool is_zero(const void *bytes, size_t count)
{
    const unsigned char *at = bytes;
    while (count > 0 && !at[count - 1])
        count--;
    return count == 0;
}

/* With the machine's lock held: the record of that process, 0 if it is not on the machine.  Of a process that loaded
 * the driver twice it is the first copy. */
static uint32_t find(int pid)
{
    const struct sim_machine *m = sim_driver.machine;
    const struct sim_process *self = &m->process[sim_driver.process];
    if (pid == (int)self->pid)
        return sim_driver.process;
    for (uint32_t i = 0; i < m->live_count; i++) {
        const struct sim_process *p = &m->process[m->live[i]];
        if (p->pid == (uint32_t)pid && p->pid_space == self->pid_space && p->has_life)
            return m->live[i];
    }
    return 0;
}

struct asked {
    uint32_t process;
    uint64_t start_ticks, number;
};

/* With the lock held. */
static bool is_alive(const struct asked *asked)
{
    const struct sim_process *p = &sim_driver.machine->process[asked->process];
    return p->state == SIM_PROCESS_LIVE && p->start_ticks == asked->start_ticks;
}

/* Until something was answered there; the lock is let go meanwhile. */
static void wait_for_turn(struct sim_inbox *inbox, uint64_t deadline_ns)
{
    struct sim_machine *m = sim_driver.machine;
    uint32_t seen = atomic_load(&inbox->turns);
    uint64_t at = sim_now_ns() + LOOK_NS;
    sim_machine_unlock(m);
    sim_sleep_until(&inbox->turns, seen, at < deadline_ns ? at : deadline_ns);
    sim_machine_lock(m);
    sim_machine_reap(m);
}

/* With the lock held; UINT64_MAX as deadline: none. */
static CUresult ask(struct asked *asked, enum sim_request request, uint64_t deadline_ns,
                    const uint32_t *new_device)
{
    struct sim_machine *m = sim_driver.machine;
    struct sim_process *p = &m->process[asked->process];
    struct sim_inbox *inbox = &p->inbox;
    while (inbox->request != SIM_REQUEST_NONE) { /* somebody else's */
        if (sim_now_ns() >= deadline_ns)
            return CUDA_ERROR_NOT_READY;
        wait_for_turn(inbox, deadline_ns);
        if (!is_alive(asked))
            return CUDA_ERROR_INVALID_VALUE;
    }
    asked->number = inbox->number + 1;
    for (uint32_t d = 0; new_device && d < m->device_count; d++)
        SIM_PUT(m, inbox->new_device[d], new_device[d]);
    SIM_PUT(m, inbox->moves, new_device != NULL);
    SIM_PUT(m, inbox->deadline_ns, deadline_ns);
    SIM_PUT(m, inbox->number, asked->number);
    SIM_PUT(m, inbox->request, (uint32_t)request);
    sim_commit(m);
    sim_wake(&p->kick);
    while (inbox->answered < asked->number) {
        if (sim_now_ns() >= deadline_ns) { /* its helper has no time for us: a host function, say */
            SIM_PUT(m, inbox->request, SIM_REQUEST_NONE);
            SIM_PUT(m, inbox->answered, asked->number);
            sim_commit(m);
            sim_wake(&p->kick);
            sim_wake(&inbox->turns);
            return CUDA_ERROR_NOT_READY;
        }
        wait_for_turn(inbox, deadline_ns);
        if (!is_alive(asked))
            return CUDA_ERROR_INVALID_VALUE; /* it ended: no such process any more */
    }
    return (CUresult)inbox->answer[asked->number % SIM_ANSWERS];
}

static CUresult request(int pid, enum sim_request what, uint64_t deadline_ns, const uint32_t *new_device)
{
    struct sim_machine *m = sim_driver.machine;
    CUresult result = CUDA_ERROR_INVALID_VALUE;
    sim_machine_lock(m);
    sim_machine_reap(m);
    struct asked asked = {.process = find(pid)};
    if (asked.process) {
        asked.start_ticks = m->process[asked.process].start_ticks;
        result = ask(&asked, what, deadline_ns, new_device);
    }
    sim_machine_unlock(m);
    return result;
}

SIM_API(cuCheckpointProcessLock, (int pid, CUcheckpointLockArgs *args))
{
    ENTER(cuCheckpointProcessLock, pid);
    uint64_t deadline_ns = UINT64_MAX;
    if (args && (args->reserved0 || !is_zero(args->reserved1, sizeof(args->reserved1))))
        return CUDA_ERROR_INVALID_VALUE;
    if (args && args->timeoutMs)
        deadline_ns = sim_now_ns() + args->timeoutMs * NS_PER_MS;
    return request(pid, SIM_REQUEST_LOCK, deadline_ns, NULL);
}

SIM_API(cuCheckpointProcessCheckpoint, (int pid, CUcheckpointCheckpointArgs *args))
{
    ENTER(cuCheckpointProcessCheckpoint, pid);
    if (args && !is_zero(args, sizeof(*args)))
        return CUDA_ERROR_INVALID_VALUE;
    return request(pid, SIM_REQUEST_SAVE, UINT64_MAX, NULL);
}

static uint32_t device_of(const CUuuid *uuid)
{
    uint32_t d = 0;
    while (d < sim_driver.machine->device_count && memcmp(sim_driver.machine->device[d].uuid, uuid, 16) != 0)
        d++;
    return d;
}

/* Where each device's contexts go; the asked process checks that all of its own are named. */
static bool read_pairs(const CUcheckpointRestoreArgs *args, uint32_t new_device[SIM_MAX_DEVICES])
{
    const struct sim_machine *m = sim_driver.machine;
    bool taken[SIM_MAX_DEVICES] = {false};
    for (uint32_t d = 0; d < SIM_MAX_DEVICES; d++)
        new_device[d] = SIM_MAX_DEVICES;
    for (unsigned i = 0; i < args->gpuPairsCount; i++) {
        uint32_t from = device_of(&args->gpuPairs[i].oldUuid), to = device_of(&args->gpuPairs[i].newUuid);
        if (from == m->device_count || to == m->device_count || new_device[from] != SIM_MAX_DEVICES ||
            taken[to])
            return false;
        if (strcmp(m->device[from].profile.key, m->device[to].profile.key) != 0)
            return false; /* another chip */
        new_device[from] = to;
        taken[to] = true;
    }
    return true;
}

SIM_API(cuCheckpointProcessRestore, (int pid, CUcheckpointRestoreArgs *args))
{
    ENTER(cuCheckpointProcessRestore, pid);
    uint32_t new_device[SIM_MAX_DEVICES];
    bool moves = args && args->gpuPairsCount;
    if (args && (!is_zero(args->reserved, sizeof(args->reserved)) || args->reserved1))
        return CUDA_ERROR_INVALID_VALUE;
    if (moves && (!args->gpuPairs || !read_pairs(args, new_device)))
        return CUDA_ERROR_INVALID_VALUE;
    return request(pid, SIM_REQUEST_RESTORE, UINT64_MAX, moves ? new_device : NULL);
}

SIM_API(cuCheckpointProcessUnlock, (int pid, CUcheckpointUnlockArgs *args))
{
    ENTER(cuCheckpointProcessUnlock, pid);
    if (args && !is_zero(args, sizeof(*args)))
        return CUDA_ERROR_INVALID_VALUE;
    return request(pid, SIM_REQUEST_UNLOCK, UINT64_MAX, NULL);
}

/* A word of the process's record, without asking it. */
static CUresult look(int pid, int *value, uint32_t (*at)(const struct sim_process *))
{
    struct sim_machine *m = sim_driver.machine;
    if (!value)
        return CUDA_ERROR_INVALID_VALUE;
    sim_machine_lock(m);
    sim_machine_reap(m);
    uint32_t process = find(pid);
    if (process)
        *value = (int)at(&m->process[process]);
    sim_machine_unlock(m);
    return process ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

static uint32_t state_of(const struct sim_process *p)
{
    return p->inbox.state;
}

static uint32_t helper_of(const struct sim_process *p)
{
    return p->helper_tid;
}

SIM_API(cuCheckpointProcessGetState, (int pid, CUprocessState *state))
{
    ENTER(cuCheckpointProcessGetState, pid);
    return look(pid, (int *)state, state_of);
}

SIM_API(cuCheckpointProcessGetRestoreThreadId, (int pid, int *tid))
{
    ENTER(cuCheckpointProcessGetRestoreThreadId, pid);
    return look(pid, tid, helper_of);
}
