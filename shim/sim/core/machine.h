/* machine.h -- the simulated machine: one shared file that every process maps, and a discrete-event model in
 * it.
 *
 * Whoever takes the lock first brings the model to the present (sched.c); there is no daemon.  All words of
 * the file are guarded by that one robust lock, except the event stamps and the wake words, which are also
 * read without it.  Changes to shared words go through SIM_PUT, which notes the old value: a process killed
 * inside the lock leaves a journal, and the next owner rolls its half-made change back.
 *
 * Times are nanoseconds of sim_now_ns(), memory is bytes.  Indices are 1-based where 0 means "none". */
#ifndef SIM_MACHINE_H
#define SIM_MACHINE_H

#include "layout.h"
#include "virtual.h"

/* The built-in profile of that key, or NULL (profile.c). */
const struct sim_profile *sim_profile_find(const char *key);

/* The one clock, and the one way to wait for it (clock.c). */
uint64_t sim_now_ns(void);
/* Until `deadline_ns`, or earlier when *word is no longer `seen` (a waker changed it).  word may be NULL. */
void sim_sleep_until(_Atomic uint32_t *word, uint32_t seen, uint64_t deadline_ns);
void sim_wake(_Atomic uint32_t *word);

/* The virtual clock beside the machine of that path, and whether this program is on one: then all of the above is
 * that clock's (clock/turns.h). */
bool sim_clock_beside(const char *path);
bool sim_on_virtual_clock(void);
/* A call to the driver takes time there, so that a program that asks again and again sees it pass. */
#define SIM_CALL_NS 200
void sim_spend_call(void);

/* Map the machine named by SIMGPU_MACHINE, making it from SIMGPU_PROFILE where `make`.  Returns NULL with
 * errno and one line in `why` (what is wrong with which file); otherwise `why` is empty, or says in one line what was
 * wrong with the file and that a new one has taken its place. */
struct sim_machine *sim_machine_open(bool make, char *why, unsigned why_size);
struct sim_machine *sim_machine_open_at(const char *path, const char *profile, bool make, char *why,
                                        unsigned why_size);
void sim_machine_close(struct sim_machine *);
/* The path that sim_machine_open uses. */
void sim_machine_path(char *path, unsigned size);

/* Take the lock, roll back what a dead owner left, reap dead processes now and then, advance to the present.
 */
void sim_machine_lock(struct sim_machine *);
void sim_machine_unlock(struct sim_machine *);
/* With the lock held: bring the model to that moment. */
void sim_machine_come_to(struct sim_machine *, uint64_t now);
/* With the lock held: look at every live process now. */
void sim_machine_reap(struct sim_machine *);

/* The same for all processes to which a pid means the same process. */
uint64_t sim_pid_space(void);

/* With the lock held. */
uint32_t sim_process_open(struct sim_machine *);
void sim_process_end(struct sim_machine *, uint32_t process);
/* -1 and no change when the device is full. */
int sim_memory_charge(struct sim_machine *, uint32_t process, uint32_t device, enum sim_memory_kind,
                      uint64_t bytes);
/* It was told so. */
void sim_memory_deny(struct sim_machine *, uint32_t process, uint32_t device);
void sim_memory_release(struct sim_machine *, uint32_t process, uint32_t device, enum sim_memory_kind,
                        uint64_t bytes);
/* To the process's books alone, as a part of a larger change: the device is charged with it. */
void sim_memory_add(struct sim_machine *, uint32_t process, uint32_t device, enum sim_memory_kind,
                    uint64_t bytes);

/* Page-locked memory of the host, which no device has. */
void sim_memory_pin(struct sim_machine *, uint32_t process, uint64_t bytes);
void sim_memory_unpin(struct sim_machine *, uint32_t process, uint64_t bytes);

/* Contexts and their streams' queues, with the lock held (queue.c).  0 when the machine has no more of them. */
uint32_t sim_shared_context_open(struct sim_machine *, uint32_t process, uint32_t device);
/* One that shares the engine with `leader` and uses only those SMs. */
uint32_t sim_shared_context_join(struct sim_machine *, uint32_t leader, const struct sim_sms *allowed);
/* Before it has work: no more than that many SMs at a time, and its MPS client's level. */
void sim_shared_context_limit(struct sim_machine *, uint32_t context, uint32_t sms, uint32_t level);
/* All contexts of a process that has nothing queued, from the device that is the index to another of the same kind;
 * SIM_MAX_DEVICES: they stay. */
void sim_contexts_move(struct sim_machine *, uint32_t process, const uint32_t new_device[SIM_MAX_DEVICES]);
/* Under MPS a fatal fault of one client is every client's: sets `fault` of all contexts that share the engine with
 * this one, this one included, and wakes their processes. */
void sim_fault_clients(struct sim_machine *, uint32_t context, uint32_t error);
void sim_shared_context_close(struct sim_machine *, uint32_t context);
uint32_t sim_queue_open(struct sim_machine *, uint32_t context, enum sim_stream_role, int32_t priority);
void sim_queue_close(struct sim_machine *, uint32_t queue);
/* For commands appended from now on. */
void sim_queue_set_priority(struct sim_machine *, uint32_t queue, int32_t priority);
/* Append to a queue that has room.  ticket and total_ns are filled in. */
void sim_queue_append(struct sim_machine *, uint32_t queue, struct sim_command);
/* The owner's helper has done what the SIM_CMD_HOST command at the head asked for. */
void sim_queue_host_done(struct sim_machine *, uint32_t queue);
/* No earlier than this will `command` commands of the queue be done: UINT64_MAX when that depends on the host. */
/* predict.c */
uint64_t sim_queue_predict(const struct sim_machine *, uint32_t queue, uint64_t command);

/* Failures, with the lock held (fault.c).  All that is queued in failed contexts is dropped. */
void sim_context_fail(struct sim_machine *, uint32_t context, uint32_t error);
/* The same, outside of a step of the model. */
void sim_context_fail_now(struct sim_machine *, uint32_t context, uint32_t error);
/* Every context on the device; where `lost`, no other will ever open. */
void sim_device_fail(struct sim_machine *, uint32_t device, uint32_t error, bool lost);

/* Bring the model to machine->now_ns, with the lock held (sched.c). */
void sim_advance(struct sim_machine *);

/* Samples, with the lock held (sample.c): numbered from 1, the last complete one and the first that is still known;
 * none where first > last.  How long in samples `first` to `last` the device was busy, or the process had it. */
uint64_t sim_sample_last(const struct sim_machine *);
uint64_t sim_sample_first(const struct sim_machine *);
uint64_t sim_sample_device_ns(const struct sim_machine *, uint32_t device, uint64_t first, uint64_t last);
uint64_t sim_sample_process_ns(const struct sim_machine *, uint32_t process, uint32_t device, uint64_t first,
                               uint64_t last);

/* Truth, with the lock held (account.c).  Compute engine: sum of gpu_ns + forgotten + idle + switch ==
 * elapsed, exactly: a nanosecond in which several contexts run (MPS, green contexts) is divided among them as they
 * divide the SMs in use.  sm_ns is what kernels took of the SMs themselves. */
uint64_t sim_device_elapsed_ns(const struct sim_machine *, uint32_t device);
uint64_t sim_device_idle_ns(const struct sim_machine *, uint32_t device);
uint64_t sim_device_switch_ns(const struct sim_machine *, uint32_t device);
uint64_t sim_process_gpu_ns(const struct sim_machine *, uint32_t process, uint32_t device);
uint64_t sim_process_sm_ns(const struct sim_machine *, uint32_t process, uint32_t device);
uint64_t sim_process_queued(const struct sim_machine *, uint32_t process, uint32_t device);
uint64_t sim_context_gpu_ns(const struct sim_machine *, uint32_t context);
uint64_t sim_context_sm_ns(const struct sim_machine *, uint32_t context);
uint64_t sim_context_queued(const struct sim_machine *, uint32_t context);

/* -------- changes that survive the death of their author -------- */

#define SIM_UNDO_32 (1ull << 63) /* in sim_undo.offset: a word of 4 bytes */

static inline void sim_journal(struct sim_machine *m, const void *word, uint64_t old, uint64_t width)
{
    uint64_t offset = (uint64_t)((const char *)word - (const char *)m);
    m->journal[m->journal_count] = (struct sim_undo){offset | width, old};
    atomic_signal_fence(memory_order_seq_cst);
    m->journal_count++;
    atomic_signal_fence(memory_order_seq_cst);
}

/* The change so far is whole: from here on nothing is rolled back. */
static inline void sim_commit(struct sim_machine *m)
{
    atomic_signal_fence(memory_order_seq_cst);
    m->journal_count = 0;
    atomic_signal_fence(memory_order_seq_cst);
}

/* Only for words of 4 and 8 bytes.  Each note waits for the one before it, so what changes nothing is not noted. */
#define SIM_PUT(m, word, value)                                                                              \
    do {                                                                                                     \
        _Static_assert(sizeof(word) == 8 || sizeof(word) == 4, "a journalled word");                         \
        __typeof__((word) + 0) old_ = (word), new_ = (value);                                                \
        if (old_ != new_) {                                                                                  \
            sim_journal((m), &(word), (uint64_t)old_, sizeof(word) == 4 ? SIM_UNDO_32 : 0);                  \
            (word) = new_;                                                                                   \
        }                                                                                                    \
    } while (0)

#endif
