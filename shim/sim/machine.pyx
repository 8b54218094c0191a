# cython: language_level=3
"""The simulated machine as only a simulation can know it: read through the code that the driver itself uses."""

import sys

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef extern from "profile.h":
    const uint32_t SIM_MAX_DEVICES, SIM_PROCESS_FREE, SIM_PROCESS_LIVE, SIM_UUID_TEXT
    const uint32_t SIM_MAX_PROCESSES, SIM_MEM_KINDS

    struct sim_profile:
        char key[16]
        char name[64]
        uint64_t memory_bytes

    struct sim_process_device:
        uint64_t kernels, copies, copy_bytes, denied, unsure_ns, used_bytes, peak_bytes
        uint64_t *memory
        uint32_t contexts

    struct sim_process:
        uint32_t state, pid
        uint64_t start_ticks
        char command[64]
        sim_process_device *device
        uint64_t pinned_bytes, peak_pinned_bytes

    struct sim_device:
        sim_profile profile
        uint8_t uuid[16]
        uint32_t first_context
        uint64_t switches, busy_ns, forgotten_gpu_ns, forgotten_sm_ns, used_bytes
        uint64_t *copy_busy_ns

    struct sim_shared_context:
        uint32_t process, next, sms_limit, fault
        uint64_t id, group, switches, kernels, copies, copy_bytes

    struct sim_machine:
        uint64_t now_ns, slice_ns, switch_ns
        uint32_t device_count, mps, virtual_clock
        sim_shared_context *context
        sim_device *device
        sim_process *process

    const char *SIM_DRIVER_RELEASE
    const sim_profile *sim_profiles
    const unsigned sim_profile_count

    void sim_machine_path(char *path, unsigned size)
    sim_machine *sim_machine_open_at(const char *path, const char *profile, bint create, char *why, unsigned why_size) nogil
    void sim_machine_close(sim_machine *) nogil
    void sim_machine_lock(sim_machine *) nogil
    void sim_machine_unlock(sim_machine *) nogil
    void sim_machine_reap(sim_machine *) nogil
    void sim_machine_come_to(sim_machine *, uint64_t now) nogil
    void sim_uuid_text(const uint8_t *uuid, char *text)
    uint64_t sim_device_elapsed_ns(const sim_machine *, uint32_t device)
    uint64_t sim_device_idle_ns(const sim_machine *, uint32_t device)
    uint64_t sim_device_switch_ns(const sim_machine *, uint32_t device)
    uint64_t sim_process_gpu_ns(const sim_machine *, uint32_t process, uint32_t device)
    uint64_t sim_process_sm_ns(const sim_machine *, uint32_t process, uint32_t device)
    uint64_t sim_process_queued(const sim_machine *, uint32_t process, uint32_t device)
    uint64_t sim_context_gpu_ns(const sim_machine *, uint32_t context)
    uint64_t sim_context_sm_ns(const sim_machine *, uint32_t context)
    uint64_t sim_context_queued(const sim_machine *, uint32_t context)

# In the order of enum sim_memory_kind.
MEMORY_KINDS = ("context", "linear", "managed", "pool", "vmm", "array", "module", "graph", "other")

PROFILES = tuple(sim_profiles[i].key.decode() for i in range(sim_profile_count))


class MachineError(Exception):
    """The machine's file cannot be used; the message names it and says why."""


def default_path():
    """Where the machine is: SIMGPU_MACHINE, or a place of this user's in shared memory."""
    cdef char path[4096]
    sim_machine_path(path, sizeof(path))
    return path.decode()


cdef sim_machine *open_machine(path, profile, bint create) except NULL:
    cdef bytes file_name = path.encode(), key = profile.encode()
    cdef const char *file_name_text = file_name
    cdef const char *key_text = key
    cdef char why[4352]
    why[0] = 0
    cdef sim_machine *m
    with nogil:
        m = sim_machine_open_at(file_name_text, key_text, create, why, sizeof(why))
    if m == NULL:
        raise MachineError(why.decode())
    if why[0]:
        print(f"simgpu: {why.decode()}", file=sys.stderr)
    return m


def create(path, profile):
    """Make the machine with the devices of `profile` unless it exists; return the profiles of its devices."""
    cdef sim_machine *m = open_machine(path, profile, True)
    try:
        return [m.device[d].profile.key.decode() for d in range(m.device_count)]
    finally:
        sim_machine_close(m)


if SIM_MEM_KINDS != len(MEMORY_KINDS):
    raise ImportError("machine.h has other kinds of memory")


cdef contexts_of(const sim_machine *m, uint32_t d):
    """The living contexts of a device, the newest first; those of one group are on the engine together."""
    cdef uint32_t c = m.device[d].first_context
    cdef const sim_shared_context *ctx
    contexts = []
    while c:
        ctx = &m.context[c]
        contexts.append({
            "pid": m.process[ctx.process].pid,
            "id": ctx.id,
            "group": ctx.group,
            "gpu_ns": sim_context_gpu_ns(m, c),
            "sm_ns": sim_context_sm_ns(m, c),
            "kernels": ctx.kernels,
            "copies": ctx.copies,
            "copy_bytes": ctx.copy_bytes,
            "queued": sim_context_queued(m, c),
            "switches": ctx.switches,
            "sms_limit": ctx.sms_limit,
            "fault": ctx.fault,
        })
        c = ctx.next
    return contexts


cdef uint32_t last_process(const sim_machine *m):
    """Records are used from the first on, and at most one before the last is free: its taker was killed meanwhile."""
    cdef uint32_t p, free = 0
    for p in range(1, SIM_MAX_PROCESSES + 1):
        free += m.process[p].state == SIM_PROCESS_FREE
        if free == 2:
            return p - 1
    return SIM_MAX_PROCESSES


cdef processes_of(const sim_machine *m, uint32_t d):
    """One entry for each process that used the device; a process that loaded the driver twice has two records."""
    cdef uint32_t p, kind
    cdef const sim_process *process
    cdef const sim_process_device *usage
    found = {}
    for p in range(1, last_process(m) + 1):
        process = &m.process[p]
        if process.state == SIM_PROCESS_FREE:
            continue
        usage = &process.device[d]
        gpu_ns = sim_process_gpu_ns(m, p, d)
        if not (usage.contexts or usage.peak_bytes or usage.kernels or usage.copy_bytes or gpu_ns):
            continue
        entry = found.setdefault(
            (process.pid, process.start_ticks),
            {
                "pid": process.pid,
                "ended": True,
                "gpu_ns": 0,
                "sm_ns": 0,
                "unsure_ns": 0,
                "kernels": 0,
                "copies": 0,
                "copy_bytes": 0,
                "denied": 0,
                "used_bytes": 0,
                "peak_bytes": 0,
                "queued": 0,
                "contexts": 0,
                "memory": dict.fromkeys(MEMORY_KINDS, 0),
                "command": process.command.decode(errors="replace"),
            },
        )
        entry["ended"] = entry["ended"] and process.state != SIM_PROCESS_LIVE
        entry["gpu_ns"] += gpu_ns
        entry["sm_ns"] += sim_process_sm_ns(m, p, d)
        entry["kernels"] += usage.kernels
        entry["copies"] += usage.copies
        entry["denied"] += usage.denied
        entry["unsure_ns"] += usage.unsure_ns
        entry["copy_bytes"] += usage.copy_bytes
        entry["used_bytes"] += usage.used_bytes
        entry["peak_bytes"] += usage.peak_bytes
        entry["queued"] += sim_process_queued(m, p, d)
        entry["contexts"] += usage.contexts
        for kind in range(SIM_MEM_KINDS):
            entry["memory"][MEMORY_KINDS[kind]] += usage.memory[kind]
    return list(found.values())


cdef pinned_of(const sim_machine *m):
    """One entry for each process that has ever had page-locked memory of the host."""
    cdef uint32_t p
    cdef const sim_process *process
    found = {}
    for p in range(1, last_process(m) + 1):
        process = &m.process[p]
        if process.state == SIM_PROCESS_FREE or not process.peak_pinned_bytes:
            continue
        entry = found.setdefault(
            (process.pid, process.start_ticks),
            {"pid": process.pid, "ended": True, "pinned_bytes": 0, "peak_pinned_bytes": 0},
        )
        entry["ended"] = entry["ended"] and process.state != SIM_PROCESS_LIVE
        entry["pinned_bytes"] += process.pinned_bytes
        entry["peak_pinned_bytes"] += process.peak_pinned_bytes
    return list(found.values())


def stat(path, uint64_t virtual_ns=0):
    """What the machine has done so far: times in nanoseconds, memory in bytes.

    A machine on a virtual clock is shown as its programs last left it, or, where the caller conducts that clock, as it
    is at `virtual_ns`.

    Processes that ended stay listed, up to 4096 of them; forgotten_gpu_ns is what older ones used.
    """
    cdef sim_machine *m = open_machine(path, "", False)
    cdef char uuid[64]
    cdef uint32_t d
    try:
        with nogil:
            sim_machine_lock(m)
            if m.virtual_clock and virtual_ns > m.now_ns:
                sim_machine_come_to(m, virtual_ns)
            if virtual_ns or not m.virtual_clock:
                sim_machine_reap(m)
        try:
            devices = []
            for d in range(m.device_count):
                sim_uuid_text(m.device[d].uuid, uuid)
                devices.append({
                    "index": d,
                    "uuid": uuid.decode(),
                    "name": m.device[d].profile.name.decode(),
                    "profile": m.device[d].profile.key.decode(),
                    "elapsed_ns": sim_device_elapsed_ns(m, d),
                    "idle_ns": sim_device_idle_ns(m, d),
                    "switch_ns": sim_device_switch_ns(m, d),
                    "switches": m.device[d].switches,
                    "busy_ns": sim_device_elapsed_ns(m, d) - sim_device_idle_ns(m, d) - sim_device_switch_ns(m, d),
                    "forgotten_gpu_ns": m.device[d].forgotten_gpu_ns,
                    "forgotten_sm_ns": m.device[d].forgotten_sm_ns,
                    "copy_busy_ns": [m.device[d].copy_busy_ns[0], m.device[d].copy_busy_ns[1]],
                    "memory_bytes": m.device[d].profile.memory_bytes,
                    "used_bytes": m.device[d].used_bytes,
                    "contexts": contexts_of(m, d),
                    "processes": processes_of(m, d),
                })
            return {
                "schema": "gshare/sim/v1",
                "driver": SIM_DRIVER_RELEASE.decode(),
                "now_ns": m.now_ns,
                "slice_ns": m.slice_ns,
                "switch_ns": m.switch_ns,
                "mps": bool(m.mps),
                "devices": devices,
                "pinned": pinned_of(m),
            }
        finally:
            with nogil:
                sim_machine_unlock(m)
    finally:
        sim_machine_close(m)


def occupants(path):
    """Who has contexts on each device, as NVML says it on hardware: by UUID and pid, bytes held and GPU time used."""
    cdef sim_machine *m = open_machine(path, "", False)
    cdef char uuid[64]
    cdef uint32_t d, p
    cdef const sim_process *process
    cdef const sim_process_device *usage
    found = []
    try:
        with nogil:
            sim_machine_lock(m)
            if not m.virtual_clock:
                sim_machine_reap(m)
        try:
            for d in range(m.device_count):
                sim_uuid_text(m.device[d].uuid, uuid)
                found.append((uuid.decode(), {}))
            for p in range(1, last_process(m) + 1):
                process = &m.process[p]
                if process.state != SIM_PROCESS_LIVE:
                    continue
                for d in range(m.device_count):
                    usage = &process.device[d]
                    if usage.contexts:  # a process that loaded the driver twice has two records
                        held, used = found[d][1].get(process.pid, (0, 0))
                        found[d][1][process.pid] = (held + usage.used_bytes, used + sim_process_gpu_ns(m, p, d))
        finally:
            with nogil:
                sim_machine_unlock(m)
    finally:
        sim_machine_close(m)
    return dict(found)
