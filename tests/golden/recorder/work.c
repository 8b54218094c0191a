/* work.c -- what many groups need: a context, kernels, streams, the time. */
#include "kernels.h"
#include "recorder.h"

#include <time.h>

static word module;

int begin_context(void)
{
    word context = 0;
    int code = DO(cuInit, 0);
    if (code == 0)
        code = DO(cuDevicePrimaryCtxRetain, A(context), 0);
    return code ? code : DO(cuCtxSetCurrent, context);
}

word kernel_named(const char *name)
{
    word function = 0;
    if (!module)
        DO(cuModuleLoadData, A(module), P(KERNELS));
    DO(cuModuleGetFunction, A(function), module, P(name));
    return function;
}

word spin_function(void)
{
    static word function;
    if (!function)
        function = kernel_named("spin");
    return function;
}

int spin(uint64_t ns, word stream)
{
    void *params[] = {&ns};
    return DO(cuLaunchKernel, spin_function(), 1, 1, 1, 1, 1, 1, 0, stream, P(params), 0);
}

word new_stream(unsigned flags)
{
    word stream = 0;
    DO(cuStreamCreate, A(stream), flags);
    return stream;
}

word new_event(unsigned flags)
{
    word event = 0;
    DO(cuEventCreate, A(event), flags);
    return event;
}

uint64_t free_bytes(void)
{
    size_t free = 0, total = 0;
    DO(cuMemGetInfo_v2, A(free), A(total));
    return free;
}

int64_t in_steps(int64_t bytes)
{
    const int64_t step = 2 << 20;
    return (bytes + step / 2) / step * step;
}

uint64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

void pause_ms(unsigned ms)
{
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000L}, NULL);
}
