/* pass.c -- the runtime calls that are one driver call each: calls.def. */
#include "cudart.h"

#define CALL(driver, version, params)
#define PASS(runtime, driver, version, params, args)                                                         \
    RT_API(runtime, params)                                                                                  \
    {                                                                                                        \
        return RT_CALL(rt_legacy.driver args);                                                               \
    }
#define STREAM(runtime, twin, driver, version, params, args)                                                 \
    PASS(runtime, driver, version, params, args)                                                             \
    RT_API(twin, params)                                                                                     \
    {                                                                                                        \
        return RT_CALL(rt_per_thread.driver args);                                                           \
    }
#include "calls.def"

RT_API(cudaStreamCreate, (cudaStream_t * stream))
{
    return RT_CALL(rt_legacy.cuStreamCreate(stream, CU_STREAM_DEFAULT));
}

RT_API(cudaStreamCreateWithFlags, (cudaStream_t * stream, unsigned flags))
{
    return RT_CALL(rt_legacy.cuStreamCreate(stream, flags));
}

RT_API(cudaEventCreate, (cudaEvent_t * event))
{
    return RT_CALL(rt_legacy.cuEventCreate(event, CU_EVENT_DEFAULT));
}

RT_API(cudaEventCreateWithFlags, (cudaEvent_t * event, unsigned flags))
{
    return RT_CALL(rt_legacy.cuEventCreate(event, flags));
}

RT_API(cudaGraphInstantiate, (cudaGraphExec_t * exec, cudaGraph_t graph, unsigned long long flags))
{
    return RT_CALL(rt_legacy.cuGraphInstantiateWithFlags(exec, graph, flags));
}
