/* subject_managed.c -- managed memory: attachment, residency, advice. */
#include "recorder.h"
#include "structures.h"
#include "subjects.h"

enum { READ_MOSTLY = 1, PREFERRED = 2, ACCESSED_BY = 3, LAST_PREFETCH = 4, NEWEST_RANGE_ATTRIBUTE = 8 };
#define AT(type, id) ((word)(type) | (word)(uint32_t)(id) << 32) /* a CUmemLocation by value */

static void ranges(const char *when, word pointer)
{
    for (unsigned i = 1; i <= LAST_PREFETCH; i++) {
        int value[2] = {99, 99};
        CALL(cuMemRangeGetAttribute, text_of("%u %s", i, when), P(value), i == ACCESSED_BY ? 8 : 4, i,
             pointer, MIB);
        VALUE("value", value[0]);
    }
}

static void advice(word pointer)
{
    for (unsigned i = 0; i <= 9; i++)
        CALL(cuMemAdvise, text_of("%u, device 0", i), pointer, MIB, i, 0);
    CALL(cuMemAdvise, "1, the host", pointer, MIB, 1, (word)-1);
    CALL(cuMemAdvise, "3, the host", pointer, MIB, 3, (word)-1);
    CALL(cuMemAdvise, "3, device 99", pointer, MIB, 3, 99);
    CALL(cuMemAdvise, "1, 0 bytes", pointer, 0, 1, 0);
    CALL(cuMemAdvise, "1, at 0", 0, MIB, 1, 0);
    CALL(cuMemAdvise, "1, more than there is", pointer, 64 * MIB, 1, 0);
    CALL(cuMemAdvise_v2, "1, device 0", pointer, MIB, 1, AT(1, 0));
    CALL(cuMemAdvise_v2, "1, location 0", pointer, MIB, 1, AT(0, 0));
    CALL(cuMemAdvise_v2, "1, device 99", pointer, MIB, 1, AT(1, 99));
    CALL(cuMemAdvise_v2, "2, device 0", pointer, MIB, 2, AT(1, 0));
}

static void prefetch(word pointer, word linear)
{
    CALL(cuMemPrefetchAsync, "device 0", pointer, MIB, 0, 0);
    DO(cuCtxSynchronize);
    ranges("on the device", pointer);
    CALL(cuMemPrefetchAsync, "the host", pointer, MIB, (word)-1, 0);
    DO(cuCtxSynchronize);
    ranges("on the host", pointer);
    CALL(cuMemPrefetchAsync, "device 99", pointer, MIB, 99, 0);
    CALL(cuMemPrefetchAsync, "0 bytes", pointer, 0, 0, 0);
    CALL(cuMemPrefetchAsync, "more than there is", pointer, 64 * MIB, 0, 0);
    CALL(cuMemPrefetchAsync, "linear memory", linear, MIB, 0, 0);
    CALL(cuMemPrefetchAsync, "at 0", 0, MIB, 0, 0);
    CALL(cuMemPrefetchAsync_v2, "device 0", pointer, MIB, AT(1, 0), 0, 0);
    CALL(cuMemPrefetchAsync_v2, "the host", pointer, MIB, AT(2, 0), 0, 0);
    CALL(cuMemPrefetchAsync_v2, "location 0", pointer, MIB, AT(0, 0), 0, 0);
    CALL(cuMemPrefetchAsync_v2, "location 9", pointer, MIB, AT(9, 0), 0, 0);
    CALL(cuMemPrefetchAsync_v2, "flags 1", pointer, MIB, AT(1, 0), 1, 0);
}

void record_managed(void)
{
    static const unsigned flags[] = {0, 1, 2, 3, 4, 5, 0x1000};
    word pointer = 0, linear = 0;
    for (size_t i = 0; i < sizeof(flags) / sizeof(*flags); i++) {
        pointer = 0;
        uint64_t before = free_bytes();
        CALL(cuMemAllocManaged, text_of("flags %#x", flags[i]), A(pointer), MIB, flags[i]);
        VALUE("taken", in_steps((int64_t)(before - free_bytes())));
        DO(cuMemFree_v2, pointer);
    }
    CALL(cuMemAllocManaged, "0 bytes", A(pointer), 0, 1);
    CALL(cuMemAllocManaged, "NULL", 0, MIB, 1);
    /* More than the device has is never asked for: real drivers were seen to hang with it. */
    DO(cuMemAlloc_v2, A(linear), MIB);
    CALL(cuMemAllocManaged, "", A(pointer), MIB, 1);
    ranges("untouched", pointer);
    *(volatile char *)(uintptr_t)pointer = 1;
    prefetch(pointer, linear);
    advice(pointer);
    ranges("after all advice", pointer);
    int value = 0;
    CALL(cuMemRangeGetAttribute, "99", A(value), 4, 99, pointer, MIB);
    CALL(cuMemRangeGetAttribute, "1, 3 bytes", A(value), 3, 1, pointer, MIB);
    CALL(cuMemRangeGetAttribute, "1 into NULL", 0, 4, 1, pointer, MIB);
    CALL(cuMemRangeGetAttribute, "1, 0 bytes of memory", A(value), 4, 1, pointer, 0);
    CALL(cuMemRangeGetAttribute, "1, linear memory", A(value), 4, 1, linear, MIB);
    word stream = new_stream(1);
    CALL(cuStreamAttachMemAsync, "to this stream", stream, pointer, 0, 4);
    CALL(cuStreamAttachMemAsync, "to the host", stream, pointer, 0, 2);
    CALL(cuStreamAttachMemAsync, "to all", stream, pointer, 0, 1);
    CALL(cuStreamAttachMemAsync, "flags 0", stream, pointer, 0, 0);
    CALL(cuStreamAttachMemAsync, "flags 8", stream, pointer, 0, 8);
    CALL(cuStreamAttachMemAsync, "of half", stream, pointer, MIB / 2, 1);
    CALL(cuStreamAttachMemAsync, "linear memory", stream, linear, 0, 1);
    CALL(cuStreamAttachMemAsync, "to stream 0", 0, pointer, 0, 4);
    DO(cuCtxSynchronize);
    CALL(cuMemFree_v2, "managed", pointer);
    CALL(cuMemPrefetchAsync, "freed memory", pointer, MIB, 0, 0);
}
