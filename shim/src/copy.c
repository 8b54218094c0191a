/* copy.c -- copies, fills, and waits in a stream: their bodies are expansions of hooks.def, and copies.h says what each
 * does. */
#include "copies.h"
#include "sync.h"

static const char kinds[GS_COPY_KINDS]; /* their addresses stand for functions in the table of costs */

/* Sizes that differ by less than a quarter cost the same. */
static uint32_t size_class(uint64_t bytes)
{
    uint32_t top = 63u - (uint32_t)__builtin_clzll(bytes | 4);

    return top * 4 + (uint32_t)(bytes >> (top - 2) & 3);
}

struct copying {
    struct gs_launch launch;
    struct gs_meter_context *waiting;
    struct gs_copy_charge charge;
};

static __attribute__((noinline)) struct copying begin(struct gs_copy copy)
{
    struct copying copying = {.waiting = NULL};
    struct gs_work work = {.function = &kinds[copy.kind], .grid_x = size_class(copy.bytes)};

    if ((copy.bus_bytes[0] | copy.bus_bytes[1]) != 0)
        copying.charge = gs_copy_pass(&copy);
    if (copy.way == GS_ON_GPU && !gs_launch_covered(copy.stream, &work))
        copying.launch = gs_launch_begin(copy.stream, &work, false);
    else if (copy.way == GS_OVER_BUS)
        gs_launch_apart(copy.stream);
    else if (copy.way == GS_WAITED_FOR)
        copying.waiting = gs_wait_begins();
    return copying;
}

static __attribute__((noinline)) CUresult end(const struct copying *copying, CUresult result)
{
    if (result != CUDA_SUCCESS && copying->charge.usage != NULL)
        gs_copy_refund(&copying->charge);
    gs_launch_end(&copying->launch, result);
    gs_wait_ends(copying->waiting);
    return result;
}

/* In two functions, of which the unlimited one goes on by a jump, its arguments where they are. */
#define METERED(name, params, args)                                                                          \
    static __attribute__((noinline)) CUresult metered_##name params                                          \
    {                                                                                                        \
        if (gs_meter_current() == NULL)                                                                      \
            return REAL(name) args;                                                                          \
        struct copying copying = begin(OF_##name args);                                                      \
        return end(&copying, REAL(name) args);                                                               \
    }                                                                                                        \
    GSHARE_HOOK(name, params)                                                                                \
    {                                                                                                        \
        return gs_launch_unlimited() ? REAL(name) args : metered_##name args;                                \
    }
#define NOT_HERE(name, params, args)

/* Of the table's rows, those of these classes. */
#define IN_COPY                                  ~, METERED
#define IN_WAIT                                  ~, METERED
#define BODY(...)                                SECOND(__VA_ARGS__, NOT_HERE, ~)
#define SECOND(first, second, ...)               second
#define HOOK(library, class, name, params, args) BODY(IN_##class)(name, params, args)
#include "hooks.def"
