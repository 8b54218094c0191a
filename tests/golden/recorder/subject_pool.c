/* subject_pool.c -- stream-ordered memory and its pools. */
#include "recorder.h"
#include "structures.h"
#include "subjects.h"

enum { THRESHOLD = 4, RESERVED = 5, RESERVED_HIGH = 6, USED = 7, USED_HIGH = 8 };

static uint64_t attribute(word pool, unsigned which)
{
    uint64_t value = 0;
    DO(cuMemPoolGetAttribute, pool, which, A(value));
    return value;
}

static void attributes(word pool)
{
    for (unsigned i = 0; i <= 13; i++) {
        uint64_t value = 0;
        CALL(cuMemPoolGetAttribute, text_of("%u", i), pool, i, A(value));
        VALUE("value", value);
    }
    for (unsigned i = 0; i <= 9; i++) {
        uint64_t value = i <= 3;
        CALL(cuMemPoolSetAttribute, text_of("%u to %d", i, i <= 3), pool, i, A(value));
    }
    uint64_t one = 1;
    CALL(cuMemPoolSetAttribute, "6 to 1", pool, RESERVED_HIGH, A(one));
    CALL(cuMemPoolGetAttribute, "4 into NULL", pool, THRESHOLD, 0);
    CALL(cuMemPoolSetAttribute, "4 from NULL", pool, THRESHOLD, 0);
    CALL(cuMemPoolGetAttribute, "4 of NULL", 0, THRESHOLD, A(one));
}

/* What the pool holds and has lent after each step. */
static void life(const char *kind, word pool)
{
    word stream = new_stream(1), first = 0, second = 0;
    CALL(cuMemAllocFromPoolAsync, text_of("1 byte, %s", kind), A(first), 1, pool, stream);
    VALUE("reserved", attribute(pool, RESERVED));
    VALUE("used", attribute(pool, USED));
    VALUE("address modulo 512", first % 512);
    CALL(cuMemAllocFromPoolAsync, text_of("40 MiB, %s", kind), A(second), 40 * MIB, pool, stream);
    VALUE("reserved", attribute(pool, RESERVED));
    VALUE("used", attribute(pool, USED));
    CALL(cuMemFreeAsync, text_of("1 byte, %s", kind), first, stream);
    VALUE("used", attribute(pool, USED));
    CALL(cuMemFreeAsync, text_of("40 MiB, %s", kind), second, stream);
    CALL(cuStreamSynchronize, text_of("all freed, %s", kind), stream);
    VALUE("reserved", attribute(pool, RESERVED));
    VALUE("used", attribute(pool, USED));
    VALUE("reserved high", attribute(pool, RESERVED_HIGH));
    VALUE("used high", attribute(pool, USED_HIGH));
    CALL(cuMemPoolTrimTo, text_of("0, %s", kind), pool, 0);
    VALUE("reserved", attribute(pool, RESERVED));
    DO(cuStreamDestroy_v2, stream);
}

static void made(void)
{
    struct pool wanted = {.type = 1, .location = {1, 0}};
    word pool = 0;
    uint64_t forever = (uint64_t)-1;
    CALL(cuMemPoolCreate, "", A(pool), A(wanted));
    attributes(pool);
    DO(cuMemPoolSetAttribute, pool, THRESHOLD, A(forever));
    life("a pool that keeps", pool);
    struct access access = {{1, 0}, 3};
    struct location here = {1, 0};
    int flags = 9;
    CALL(cuMemPoolGetAccess, "device 0", A(flags), pool, A(here));
    VALUE("flags", flags);
    CALL(cuMemPoolSetAccess, "device 0, to read and write", pool, A(access), 1);
    access.flags = 0;
    CALL(cuMemPoolSetAccess, "device 0, to none", pool, A(access), 1);
    access.flags = 3;
    access.location.id = 99;
    CALL(cuMemPoolSetAccess, "device 99", pool, A(access), 1);
    CALL(cuMemPoolSetAccess, "NULL", pool, 0, 1);
    CALL(cuMemPoolGetAccess, "NULL", 0, pool, A(here));
    int descriptor = -1;
    CALL(cuMemPoolExportToShareableHandle, "one that cannot be", A(descriptor), pool, 1, 0);
    CALL(cuMemPoolDestroy, "", pool);

    wanted.max_bytes = 8 * MIB;
    CALL(cuMemPoolCreate, "of 8 MiB at most", A(pool), A(wanted));
    word pointer = 0;
    CALL(cuMemAllocFromPoolAsync, "64 MiB of 8 MiB at most", A(pointer), 64 * MIB, pool, 0);
    CALL(cuMemPoolDestroy, "of 8 MiB at most", pool);
    wanted.max_bytes = 0;
    wanted.location.id = 99;
    CALL(cuMemPoolCreate, "device 99", A(pool), A(wanted));
    wanted.location = (struct location){0, 0};
    CALL(cuMemPoolCreate, "location 0", A(pool), A(wanted));
    wanted = (struct pool){.type = 99, .location = {1, 0}};
    CALL(cuMemPoolCreate, "type 99", A(pool), A(wanted));
    wanted = (struct pool){.type = 1, .handle_types = 0x1000, .location = {1, 0}};
    CALL(cuMemPoolCreate, "handle type 0x1000", A(pool), A(wanted));
    CALL(cuMemPoolCreate, "into NULL", 0, A(wanted));
    CALL(cuMemPoolCreate, "NULL", A(pool), 0);
    CALL(cuMemPoolDestroy, "NULL", 0);
}

void record_pool(void)
{
    word pool = 0, current = 0, pointer = 0;
    CALL(cuDeviceGetDefaultMemPool, "", A(pool), 0);
    CALL(cuDeviceGetMemPool, "", A(current), 0);
    VALUE("the default", pool == current);
    CALL(cuDeviceGetDefaultMemPool, "device 99", A(current), 99);
    CALL(cuDeviceGetDefaultMemPool, "NULL", 0, 0);
    CALL(cuDeviceGetMemPool, "NULL", 0, 0);
    CALL(cuDeviceSetMemPool, "what it is", 0, pool);
    CALL(cuDeviceSetMemPool, "NULL", 0, 0);
    CALL(cuDeviceSetMemPool, "device 99", 99, pool);
    life("the default pool", pool);
    made();
    CALL(cuMemAllocAsync, "0 bytes", A(pointer), 0, 0);
    CALL(cuMemAllocAsync, "NULL", 0, 16, 0);
    CALL(cuMemAllocAsync, "1 PiB", A(pointer), PIB, 0);
    CALL(cuMemAllocFromPoolAsync, "pool NULL", A(pointer), 16, 0, 0);
    CALL(cuMemFreeAsync, "0", 0, 0);
    CALL(cuMemFreeAsync, "an address of nothing", 0xdead000, 0);
    CALL(cuMemAllocAsync, "", A(pointer), MIB, 0);
    CALL(cuMemFree_v2, "of stream-ordered memory", pointer);
    CALL(cuMemAlloc_v2, "", A(pointer), MIB);
    CALL(cuMemFreeAsync, "of linear memory", pointer, 0);
    CALL(cuMemPoolTrimTo, "NULL", 0, 0);
    CALL(cuMemPoolDestroy, "the default", pool);
}
