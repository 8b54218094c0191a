/* nvml_process.c -- the processes on a device, as NVML lists them: from the first context to the last. */
#include "nvml.h"

/* Of the unversioned calls. */
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

struct process_detail {
    unsigned pid;
    unsigned long long used_bytes;
    unsigned gpu_instance, compute_instance;
    unsigned long long protected_bytes;
};

enum mode { MODE_COMPUTE, MODE_GRAPHICS, MODE_MPS };
enum form { FORM_V1, FORM_V2, FORM_DETAIL };

struct user {
    unsigned pid;
    uint64_t used_bytes;
};

/* Used with the machine locked. */
static struct user user[SIM_MAX_LIVE];

/* With the machine locked: the processes with a context on the device.  A process that loaded the driver twice has two
 * records and is one user.  A client of MPS is on both lists, which nvidia-smi shows as M+C; nobody draws. */
static unsigned find_users(nvmlDevice_t device, enum mode mode)
{
    struct sim_machine *m = sim_nvml.machine;
    unsigned count = 0;
    sim_machine_reap(m);
    if (mode == MODE_GRAPHICS || (mode == MODE_MPS && !m->mps))
        return 0;
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
    }
    return count;
}

static void write_user(void *to, enum form form, unsigned i)
{
    const struct user *u = &user[i];
    if (form == FORM_V1)
        ((struct process_v1 *)to)[i] = (struct process_v1){u->pid, u->used_bytes};
    else if (form == FORM_V2)
        ((struct process_v2 *)to)[i] =
            (struct process_v2){u->pid, u->used_bytes, SIM_NVML_NOT_AVAILABLE, SIM_NVML_NOT_AVAILABLE};
    else
        ((struct process_detail *)to)[i] =
            (struct process_detail){u->pid, u->used_bytes, SIM_NVML_NOT_AVAILABLE, SIM_NVML_NOT_AVAILABLE, 0};
}

static nvmlReturn_t list(nvmlDevice_t device, enum mode mode, unsigned *count, void *to, enum form form)
{
    NVML_ENTER_DEVICE(device, count);
    nvmlReturn_t result = NVML_SUCCESS;
    sim_machine_lock(sim_nvml.machine);
    unsigned found = find_users(device, mode);
    if (*count < found)
        result = NVML_ERROR_INSUFFICIENT_SIZE;
    else if (found && !to)
        result = NVML_ERROR_INVALID_ARGUMENT;
    for (unsigned i = 0; result == NVML_SUCCESS && i < found; i++)
        write_user(to, form, i);
    sim_machine_unlock(sim_nvml.machine);
    *count = found;
    return result;
}

#define LISTS(name, mode)                                                                                    \
    NVML_API(name, (nvmlDevice_t device, unsigned *count, struct process_v1 *process))                       \
    {                                                                                                        \
        return list(device, mode, count, process, FORM_V1);                                                  \
    }                                                                                                        \
    NVML_API(name##_v2, (nvmlDevice_t device, unsigned *count, struct process_v2 *process))                  \
    {                                                                                                        \
        return list(device, mode, count, process, FORM_V2);                                                  \
    }                                                                                                        \
    NVML_API(name##_v3, (nvmlDevice_t device, unsigned *count, struct process_v2 *process))                  \
    {                                                                                                        \
        return list(device, mode, count, process, FORM_V2);                                                  \
    }

LISTS(nvmlDeviceGetComputeRunningProcesses, MODE_COMPUTE)
LISTS(nvmlDeviceGetGraphicsRunningProcesses, MODE_GRAPHICS)
LISTS(nvmlDeviceGetMPSComputeRunningProcesses, MODE_MPS)

struct detail_list {
    unsigned version, mode, count;
    struct process_detail *process;
};

NVML_API(nvmlDeviceGetRunningProcessDetailList, (nvmlDevice_t device, struct detail_list *details))
{
    NVML_ENTER_DEVICE(device, details);
    if (details->version != NVML_VERSION(*details, 1))
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    if (details->mode > MODE_MPS)
        return NVML_ERROR_INVALID_ARGUMENT;
    return list(device, details->mode, &details->count, details->process, FORM_DETAIL);
}
