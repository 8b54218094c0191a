/* subject_context.c -- contexts: made, current, asked, destroyed; the primary one. */
#include "recorder.h"
#include "structures.h"
#include "subjects.h"

static void made(void)
{
    static const unsigned flags[] = {0, 1, 2, 4, 8, 0x10, 0x1f, 3, 7, 0x20, 0x40, 0x80, 0x100, 0x1000};
    for (size_t i = 0; i < sizeof(flags) / sizeof(*flags); i++) {
        word context = 0;
        unsigned said = 0, version = 0;
        CALL(cuCtxCreate_v2, text_of("flags %#x", flags[i]), A(context), flags[i], 0);
        if (!context)
            continue;
        CALL(cuCtxGetFlags, text_of("made with %#x", flags[i]), A(said));
        VALUE("flags", said);
        if (flags[i] == 0) {
            CALL(cuCtxGetApiVersion, "made by cuCtxCreate_v2", context, A(version));
            VALUE("version", version);
        }
        CALL(cuCtxDestroy_v2, text_of("made with %#x", flags[i]), context);
    }
    word context = 0, current = 1;
    CALL(cuCtxGetCurrent, "after all are destroyed", A(current));
    VALUE("none", current == 0);
    CALL(cuCtxCreate_v2, "device 99", A(context), 0, 99);
    CALL(cuCtxCreate_v2, "device -1", A(context), 0, (word)-1);
    CALL(cuCtxCreate_v2, "NULL", 0, 0, 0);
    CALL(cuCtxCreate_v3, "no affinity", A(context), 0, 0, 0, 0);
    unsigned version = 0;
    CALL(cuCtxGetApiVersion, "made by cuCtxCreate_v3", context, A(version));
    VALUE("version", version);
    CALL(cuCtxDestroy_v2, "made by cuCtxCreate_v3", context);
    CALL(cuCtxCreate_v3, "NULL and 1 affinity", A(context), 0, 1, 0, 0);
    CALL(cuCtxCreate_v4, "no parameters", A(context), 0, 0, 0);
    CALL(cuCtxDestroy_v2, "made by cuCtxCreate_v4", context);
}

static void current(void)
{
    word first = 0, second = 0, found = 0;
    unsigned long long id[2] = {0, 0};
    int device = -1;
    DO(cuCtxCreate_v2, A(first), 0, 0);
    DO(cuCtxCreate_v2, A(second), 4, 0);
    CALL(cuCtxGetCurrent, "two made", A(found));
    VALUE("the second", found == second);
    CALL(cuCtxGetDevice, "", A(device));
    VALUE("device", device);
    CALL(cuCtxGetDevice, "NULL", 0);
    CALL(cuCtxGetId, "of the current", 0, A(id[0]));
    CALL(cuCtxGetId, "by handle", second, A(id[1]));
    VALUE("the same", id[0] == id[1]);
    CALL(cuCtxGetId, "of another", first, A(id[1]));
    VALUE("the same", id[0] == id[1]);
    CALL(cuCtxGetId, "NULL", 0, 0);
    CALL(cuCtxPopCurrent_v2, "", A(found));
    VALUE("the second", found == second);
    CALL(cuCtxGetCurrent, "after pop", A(found));
    VALUE("the first", found == first);
    CALL(cuCtxPushCurrent_v2, "", second);
    CALL(cuCtxPushCurrent_v2, "again", second);
    CALL(cuCtxPopCurrent_v2, "into NULL", 0);
    CALL(cuCtxPopCurrent_v2, "second time", A(found));
    CALL(cuCtxPopCurrent_v2, "third time", A(found));
    VALUE("the first", found == first);
    CALL(cuCtxPopCurrent_v2, "fourth time", A(found));
    CALL(cuCtxPushCurrent_v2, "NULL", 0);
    CALL(cuCtxSetCurrent, "", first);
    CALL(cuCtxGetApiVersion, "NULL", 0, A(device));
    CALL(cuCtxGetApiVersion, "into NULL", first, 0);
    CALL(cuCtxSetFlags, "0x4", 4);
    unsigned flags = 0;
    CALL(cuCtxGetFlags, "after cuCtxSetFlags", A(flags));
    VALUE("flags", flags);
    CALL(cuCtxSetFlags, "0x1000", 0x1000);
    CALL(cuCtxGetFlags, "NULL", 0);
    CALL(cuCtxSynchronize, "");
    CALL(cuCtxSynchronize_v2, "by handle", second);
    CALL(cuCtxGetDevice_v2, "by handle", A(device), second);
    CALL(cuCtxDestroy_v2, "one that is not current", second);
    CALL(cuCtxGetCurrent, "after that", A(found));
    VALUE("the first", found == first);
    CALL(cuCtxDestroy_v2, "", first);
    CALL(cuCtxGetCurrent, "after the current is destroyed", A(found));
    VALUE("none", found == 0);
    CALL(cuCtxDestroy_v2, "NULL", 0);
}

static void settings(void)
{
    word context = 0, primary = 0;
    int number = -1, other = -1;
    DO(cuDevicePrimaryCtxRetain, A(primary), 0);
    DO(cuCtxSetCurrent, primary);
    CALL(cuCtxGetStreamPriorityRange, "", A(number), A(other));
    VALUE("least", number);
    VALUE("greatest", other);
    CALL(cuCtxGetStreamPriorityRange, "NULL", 0, 0);
    CALL(cuCtxGetCacheConfig, "", A(number));
    VALUE("config", number);
    for (unsigned i = 0; i <= 4; i++) {
        CALL(cuCtxSetCacheConfig, text_of("%u", i), i);
        CALL(cuCtxGetCacheConfig, text_of("after %u", i), A(number));
        VALUE("config", number);
    }
    CALL(cuCtxGetCacheConfig, "NULL", 0);
    CALL(cuCtxGetSharedMemConfig, "", A(number));
    VALUE("config", number);
    CALL(cuCtxSetSharedMemConfig, "2", 2);
    CALL(cuCtxGetSharedMemConfig, "after 2", A(number));
    VALUE("config", number);
    CALL(cuCtxSetSharedMemConfig, "9", 9);
    CALL(cuCtxResetPersistingL2Cache, "");
    CALL(cuCtxEnablePeerAccess, "itself", primary, 0);
    CALL(cuCtxEnablePeerAccess, "NULL", 0, 0);
    CALL(cuCtxEnablePeerAccess, "itself, flags 1", primary, 1);
    CALL(cuCtxDisablePeerAccess, "itself", primary);
    CALL(cuCtxDisablePeerAccess, "NULL", 0);
    CALL(cuCtxAttach, "", A(context), 0);
    CALL(cuCtxDetach, "", context);
    CALL(cuCtxAttach, "flags 1", A(context), 1);
    CALL(cuCtxDestroy_v2, "the primary", primary);
}

static void primary(void)
{
    word context = 0, again = 0;
    unsigned flags = 9;
    int active = 9;
    CALL(cuDevicePrimaryCtxSetFlags_v2, "0x4", 0, 4);
    CALL(cuDevicePrimaryCtxGetState, "inactive", 0, A(flags), A(active));
    VALUE("flags", flags);
    VALUE("active", active);
    CALL(cuDevicePrimaryCtxRelease_v2, "inactive", 0);
    CALL(cuDevicePrimaryCtxRetain, "", A(context), 0);
    CALL(cuDevicePrimaryCtxRetain, "again", A(again), 0);
    VALUE("the same", context == again);
    CALL(cuDevicePrimaryCtxRetain, "device 99", A(again), 99);
    CALL(cuDevicePrimaryCtxRetain, "NULL", 0, 0);
    CALL(cuDevicePrimaryCtxGetState, "active", 0, A(flags), A(active));
    VALUE("flags", flags);
    VALUE("active", active);
    CALL(cuDevicePrimaryCtxGetState, "device 99", 99, A(flags), A(active));
    CALL(cuDevicePrimaryCtxGetState, "NULL", 0, 0, 0);
    CALL(cuDevicePrimaryCtxSetFlags_v2, "0x2 while active", 0, 2);
    CALL(cuDevicePrimaryCtxSetFlags_v2, "0x1000", 0, 0x1000);
    CALL(cuDevicePrimaryCtxSetFlags_v2, "device 99", 99, 0);
    CALL(cuDevicePrimaryCtxRelease_v2, "first", 0);
    CALL(cuDevicePrimaryCtxRelease_v2, "second", 0);
    CALL(cuDevicePrimaryCtxGetState, "released", 0, A(flags), A(active));
    VALUE("active", active);
    CALL(cuDevicePrimaryCtxRelease_v2, "third", 0);
    CALL(cuDevicePrimaryCtxRelease_v2, "device 99", 99);
    CALL(cuDevicePrimaryCtxReset_v2, "inactive", 0);
    DO(cuDevicePrimaryCtxRetain, A(context), 0);
    DO(cuCtxSetCurrent, context);
    word pointer = 0;
    CALL(cuMemAlloc_v2, "", A(pointer), MIB);
    CALL(cuDevicePrimaryCtxReset_v2, "active", 0);
    CALL(cuDevicePrimaryCtxGetState, "reset", 0, A(flags), A(active));
    VALUE("active", active);
    CALL(cuMemAlloc_v2, "after reset", A(pointer), MIB);
    CALL(cuDevicePrimaryCtxReset_v2, "device 99", 99);
}

void record_context(void)
{
    DO(cuInit, 0);
    primary();
    DO(cuCtxSetCurrent, 0);
    made();
    current();
    settings();
}

void record_limits(void)
{
    for (unsigned i = 0; i <= 8; i++) {
        size_t value = 0, after = 0;
        CALL(cuCtxGetLimit, text_of("%u", i), A(value), i);
        DEVICE_VALUE("limit", value);
        CALL(cuCtxSetLimit, text_of("%u, to what it is", i), i, value);
        CALL(cuCtxSetLimit, text_of("%u, to 0", i), i, 0);
        CALL(cuCtxGetLimit, text_of("%u, after 0", i), A(after), i);
        DEVICE_VALUE("limit", after);
        CALL(cuCtxSetLimit, text_of("%u, back", i), i, value);
    }
    size_t value = 0;
    CALL(cuCtxSetLimit, "stack of 1000 bytes", 0, 1000);
    CALL(cuCtxGetLimit, "after a stack of 1000 bytes", A(value), 0);
    VALUE("limit", value);
    CALL(cuCtxSetLimit, "stack of 1 GiB", 0, 1 << 30);
    CALL(cuCtxSetLimit, "heap of 64 MiB", 2, 64 * MIB);
    CALL(cuCtxGetLimit, "after a heap of 64 MiB", A(value), 2);
    VALUE("limit", value);
    CALL(cuCtxSetLimit, "heap of 1 PiB", 2, PIB);
    CALL(cuCtxGetLimit, "99", A(value), 99);
    CALL(cuCtxSetLimit, "99", 99, 1);
    CALL(cuCtxGetLimit, "0 into NULL", 0, 0);
    CALL(cuCtxGetLimit, "99 into NULL", 0, 99);
}
