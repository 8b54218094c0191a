/* subject_pointer.c -- the attributes of every kind of address. */
#include "recorder.h"
#include "structures.h"
#include "subjects.h"

#include <string.h>

enum {
    CONTEXT = 1,
    DEVICE_POINTER = 3,
    HOST_POINTER = 4,
    P2P_TOKENS = 5,
    BUFFER_ID = 7,
    RANGE_START = 11,
    MEMPOOL = 17,
    MAPPING_BASE = 19,
    BLOCK_ID = 20,
    NEWEST = 23,
};

/* Addresses, handles and ids differ from run to run; that they are there does not. */
static bool is_stable(unsigned attribute)
{
    return attribute != CONTEXT && attribute != DEVICE_POINTER && attribute != HOST_POINTER &&
           attribute != P2P_TOKENS && attribute != BUFFER_ID && attribute != RANGE_START &&
           attribute != MEMPOOL && attribute != MAPPING_BASE && attribute != BLOCK_ID;
}

static void all(const char *kind, word pointer)
{
    for (unsigned i = 1; i <= NEWEST; i++) {
        int64_t value[4] = {0};
        if (CALL(cuPointerGetAttribute, text_of("%u of %s", i, kind), P(value), i, pointer) != 0)
            continue;
        if (is_stable(i))
            VALUE("value", value[0]);
        else
            VALUE("there", value[0] != 0);
    }
}

void record_pointer(void)
{
    static char own[64];
    word linear = 0, managed = 0, pooled = 0, host = 0;
    DO(cuMemAlloc_v2, A(linear), 3 * MIB);
    DO(cuMemAllocManaged, A(managed), MIB, 1);
    DO(cuMemAllocAsync, A(pooled), MIB, 0);
    DO(cuMemAllocHost_v2, A(host), 4096);
    DO(cuCtxSynchronize);
    all("linear memory", linear + 512);
    all("managed memory", managed);
    all("stream-ordered memory", pooled);
    all("host memory", host);
    all("the program's own memory", P(own));

    int value = 0;
    CALL(cuPointerGetAttribute, "0", A(value), 0, linear);
    CALL(cuPointerGetAttribute, "99", A(value), 99, linear);
    CALL(cuPointerGetAttribute, "2 into NULL", 0, 2, linear);
    CALL(cuPointerGetAttribute, "2 of 0", A(value), 2, 0);
    int types[3] = {2, 8, 9}, type = 9, is_managed = 9, ordinal = 9;
    void *values[3] = {&type, &is_managed, &ordinal};
    CALL(cuPointerGetAttributes, "linear memory", 3, P(types), P(values), linear);
    VALUE("type", type);
    VALUE("managed", is_managed & 0xff);
    VALUE("ordinal", ordinal);
    CALL(cuPointerGetAttributes, "the program's own memory", 3, P(types), P(values), P(own));
    VALUE("type", type);
    VALUE("ordinal", ordinal);
    CALL(cuPointerGetAttributes, "0 attributes", 0, P(types), P(values), linear);
    CALL(cuPointerGetAttributes, "NULL", 3, 0, 0, linear);
    unsigned on = 1;
    CALL(cuPointerSetAttribute, "6 to 1", A(on), 6, linear);
    on = 0;
    CALL(cuPointerGetAttribute, "6 after 1", A(on), 6, linear);
    VALUE("value", on);
    CALL(cuPointerSetAttribute, "2", A(on), 2, linear);
    CALL(cuPointerSetAttribute, "6 from NULL", 0, 6, linear);
    CALL(cuPointerSetAttribute, "6 of the program's own memory", A(on), 6, P(own));
    DO(cuMemFree_v2, linear);
    CALL(cuPointerGetAttribute, "2 of freed memory", A(value), 2, linear);
}
