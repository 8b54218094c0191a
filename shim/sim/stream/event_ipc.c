/* event_ipc.c -- events that several processes know: one slot in the machine, an object in each of them. */
#include "event_ipc.h"
#include "ipc.h"
#include "process.h"

#include <string.h>

_Static_assert(sizeof(struct sim_share_name) <= sizeof(CUipcEventHandle), "a handle has room for it");

static uint32_t share_event(const struct sim_event *event)
{
    struct sim_machine *m = sim_driver.machine;
    struct sim_share what = {.offset = event->slot,
                             .size = event->unused_until,
                             .device = sim_driver.device[event->context->device],
                             .purpose = SIM_SHARE_EVENT,
                             .maker = sim_driver.process};
    sim_machine_lock(m);
    uint32_t share = sim_share_open(m, sim_driver.process, &what);
    sim_machine_unlock(m);
    return share;
}

SIM_API(cuIpcGetEventHandle, (CUipcEventHandle * handle, CUevent event))
{
    SIM_ENTER_CONTEXT(cuIpcGetEventHandle, ctx);
    if (!handle)
        return CUDA_ERROR_INVALID_VALUE;
    if (!sim_is(event, SIM_EVENT) || !(event->flags & CU_EVENT_INTERPROCESS))
        return CUDA_ERROR_INVALID_HANDLE;
    if (!event->share)
        event->share = share_event(event);
    if (!event->share)
        return CUDA_ERROR_OUT_OF_MEMORY;
    struct sim_share_name name = {
        SIM_SHARE_MAGIC, sim_driver.machine->share[event->share].serial, event->share, SIM_SHARE_EVENT, 0, 0};
    memset(handle, 0, sizeof(*handle));
    memcpy(handle, &name, sizeof(name));
    return CUDA_SUCCESS;
}

SIM_API(cuIpcOpenEventHandle, (CUevent * out, CUipcEventHandle handle))
{
    SIM_ENTER_CONTEXT(cuIpcOpenEventHandle, ctx);
    struct sim_share_name name;
    struct sim_share share;
    memcpy(&name, &handle, sizeof(name));
    if (!out || name.magic != SIM_SHARE_MAGIC || name.purpose != SIM_SHARE_EVENT)
        return CUDA_ERROR_INVALID_VALUE;
    if (!sim_share_look(&name, &share) || !share.first_hold)
        return CUDA_ERROR_INVALID_HANDLE;
    if (share.maker == sim_driver.process)
        return CUDA_ERROR_INVALID_CONTEXT;
    CUresult result = sim_share_take(&name, &share);
    if (result != CUDA_SUCCESS)
        return result == CUDA_ERROR_OUT_OF_MEMORY ? CUDA_ERROR_MAP_FAILED : result;
    struct sim_event *event = sim_object_new(SIM_EVENT, sizeof(*event));
    if (!event) {
        sim_share_let_go(name.share);
        return CUDA_ERROR_MAP_FAILED;
    }
    event->slot = (uint32_t)share.offset;
    event->unused_until = share.size;
    event->share = name.share;
    event->context = ctx->root;
    event->context_id = ctx->root->id;
    event->flags = CU_EVENT_DISABLE_TIMING | CU_EVENT_INTERPROCESS;
    *out = event;
    return CUDA_SUCCESS;
}

bool sim_event_unshare(const struct sim_event *event)
{
    struct sim_machine *m = sim_driver.machine;
    if (!event->share)
        return true;
    sim_machine_lock(m);
    bool own = m->share[event->share].maker == sim_driver.process;
    bool others = sim_share_held_by_others(m, event->share, sim_driver.process);
    sim_share_drop(m, event->share, sim_driver.process);
    sim_machine_unlock(m);
    return own && !others;
}

static void run_effects(void *unused)
{
    sim_effects_run();
}

CUresult sim_event_publish(struct sim_stream *stream)
{
    struct sim_work work = {.kind = SIM_WORK_HOST, .host = {.function = run_effects}};
    return sim_effects_expected() ? sim_submit(stream, &work) : CUDA_SUCCESS;
}
