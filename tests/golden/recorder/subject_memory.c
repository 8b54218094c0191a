/* subject_memory.c -- linear, pitched and host memory, and setting it. */
#include "recorder.h"
#include "structures.h"
#include "subjects.h"

#include <stdlib.h>
#include <string.h>

static void linear(void)
{
    static const uint64_t sizes[] = {1, 255, 512, 513, MIB, MIB + 1, 2 * MIB, 3 * MIB, 64 * MIB, 65 * MIB};
    word pointer = 0, base = 0;
    size_t bytes = 0;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        const char *what = text_of("%llu bytes", (unsigned long long)sizes[i]);
        uint64_t before = free_bytes();
        CALL(cuMemAlloc_v2, what, A(pointer), sizes[i]);
        VALUE("taken", in_steps((int64_t)(before - free_bytes())));
        VALUE("address modulo 512", pointer % 512);
        VALUE("2 MiB aligned", pointer % (2 * MIB) == 0 || sizes[i] < 2 * MIB);
        CALL(cuMemGetAddressRange_v2, what, A(base), A(bytes), pointer + sizes[i] / 2);
        VALUE("offset", pointer - base);
        VALUE("bytes", bytes);
        CALL(cuMemFree_v2, what, pointer);
    }
    CALL(cuMemAlloc_v2, "0 bytes", A(pointer), 0);
    CALL(cuMemAlloc_v2, "NULL", 0, 16);
    CALL(cuMemAlloc_v2, "0 bytes into NULL", 0, 0);
    CALL(cuMemAlloc_v2, "1 PiB", A(pointer), PIB);
    CALL(cuMemAlloc_v2, "all ones", A(pointer), (word)-1);
    size_t free = 0, total = 0;
    CALL(cuMemGetInfo_v2, "", A(free), A(total));
    DEVICE_VALUE("GiB", (total + (512ull << 20)) >> 30);
    CALL(cuMemAlloc_v2, "more than there is", A(pointer), total + MIB);
    CALL(cuMemGetInfo_v2, "free into NULL", 0, A(total));
    CALL(cuMemGetInfo_v2, "total into NULL", A(free), 0);
    CALL(cuMemGetInfo_v2, "NULL", 0, 0);
    CALL(cuMemFree_v2, "0", 0);
    CALL(cuMemFree_v2, "an address of nothing", 0xdead000);
    DO(cuMemAlloc_v2, A(pointer), 4 * MIB);
    CALL(cuMemFree_v2, "in the middle", pointer + 512);
    CALL(cuMemGetAddressRange_v2, "base into NULL", 0, A(bytes), pointer);
    CALL(cuMemGetAddressRange_v2, "size into NULL", A(base), 0, pointer);
    CALL(cuMemGetAddressRange_v2, "NULL", 0, 0, pointer);
    CALL(cuMemGetAddressRange_v2, "0", A(base), A(bytes), 0);
    CALL(cuMemFree_v2, "", pointer);
    CALL(cuMemFree_v2, "again", pointer);
    CALL(cuMemGetAddressRange_v2, "of freed memory", A(base), A(bytes), pointer);
}

static void set(void)
{
    word pointer = 0;
    unsigned char seen[16] = "";
    DO(cuMemAlloc_v2, A(pointer), 64 * KIB);
    CALL(cuMemsetD8_v2, "", pointer, 0xab, 64 * KIB);
    CALL(cuMemcpyDtoH_v2, "after cuMemsetD8", P(seen), pointer + 100, 16);
    VALUE("first", seen[0]);
    CALL(cuMemsetD16_v2, "", pointer, 0x1234, 1000);
    CALL(cuMemsetD16_v2, "misaligned", pointer + 1, 0x1234, 1000);
    CALL(cuMemsetD32_v2, "", pointer, 0x12345678, 1000);
    CALL(cuMemsetD32_v2, "misaligned", pointer + 2, 0x12345678, 1000);
    CALL(cuMemcpyDtoH_v2, "after cuMemsetD32", P(seen), pointer, 16);
    VALUE("first", seen[0]);
    CALL(cuMemsetD8_v2, "0 bytes", pointer, 0, 0);
    CALL(cuMemsetD8_v2, "0 bytes at 0", 0, 0, 0);
    CALL(cuMemsetD2D8_v2, "", pointer, 512, 1, 100, 16);
    CALL(cuMemsetD2D8_v2, "pitch below width", pointer, 50, 1, 100, 16);
    CALL(cuMemsetD2D8_v2, "no rows", pointer, 512, 1, 100, 0);
    CALL(cuMemsetD2D16_v2, "", pointer, 512, 1, 100, 16);
    CALL(cuMemsetD2D32_v2, "", pointer, 512, 1, 100, 16);
    CALL(cuMemsetD2D32_v2, "odd pitch", pointer, 513, 1, 100, 16);
    CALL(cuMemsetD8Async, "stream 0", pointer, 1, 16, 0);
    CALL(cuMemsetD8Async, "legacy stream", pointer, 1, 16, 1);
    CALL(cuMemsetD8Async, "per-thread stream", pointer, 1, 16, 2);
    CALL(cuMemsetD32Async, "misaligned", pointer + 2, 1, 16, 0);
    CALL(cuMemsetD2D32Async, "", pointer, 512, 1, 16, 16, 0);
    CALL(cuMemFree_v2, "set", pointer);
}

void record_memory(void)
{
    linear();
    set();
}

void record_pitched(void)
{
    static const uint64_t widths[] = {1, 4, 31, 32, 512, 513, 1000, 1024, 4096, 5000, 65537};
    word pointer = 0;
    size_t pitch = 0;
    for (size_t i = 0; i < sizeof(widths) / sizeof(*widths); i++) {
        const char *what = text_of("%llu x 8", (unsigned long long)widths[i]);
        CALL(cuMemAllocPitch_v2, what, A(pointer), A(pitch), widths[i], 8, 4);
        VALUE("pitch", pitch);
        VALUE("address modulo 512", pointer % 512);
        CALL(cuMemFree_v2, what, pointer);
    }
    static const unsigned elements[] = {0, 1, 2, 4, 8, 16, 32};
    for (size_t i = 0; i < sizeof(elements) / sizeof(*elements); i++) {
        pointer = 0;
        CALL(cuMemAllocPitch_v2, text_of("elements of %u bytes", elements[i]), A(pointer), A(pitch), 100, 4,
             elements[i]);
        VALUE("pitch", pitch);
        DO(cuMemFree_v2, pointer);
    }
    CALL(cuMemAllocPitch_v2, "0 wide", A(pointer), A(pitch), 0, 8, 4);
    CALL(cuMemAllocPitch_v2, "0 high", A(pointer), A(pitch), 8, 0, 4);
    CALL(cuMemAllocPitch_v2, "into NULL", 0, A(pitch), 8, 8, 4);
    CALL(cuMemAllocPitch_v2, "pitch into NULL", A(pointer), 0, 8, 8, 4);
    CALL(cuMemAllocPitch_v2, "1 PiB", A(pointer), A(pitch), 1 << 20, 1 << 30, 4);
    CALL(cuMemAllocPitch_v2, "wider than the most", A(pointer), A(pitch), 1ull << 32, 1, 4);
}

static void host(void)
{
    static const unsigned flags[] = {0, 1, 2, 4, 7, 8, 0x10, 0x1000};
    void *memory = NULL;
    word device = 0;
    unsigned said = 0;
    for (size_t i = 0; i < sizeof(flags) / sizeof(*flags); i++) {
        const char *what = text_of("flags %#x", flags[i]);
        memory = NULL;
        CALL(cuMemHostAlloc, what, A(memory), 4096, flags[i]);
        VALUE("page", (uintptr_t)memory % 4096 == 0);
        if (!memory)
            continue;
        CALL(cuMemHostGetFlags, what, A(said), P(memory));
        VALUE("flags", said);
        CALL(cuMemHostGetDevicePointer_v2, what, A(device), P(memory), 0);
        VALUE("the same address", device == P(memory));
        CALL(cuMemFreeHost, what, P(memory));
    }
    CALL(cuMemAllocHost_v2, "", A(memory), 4096);
    CALL(cuMemHostGetFlags, "of cuMemAllocHost", A(said), P(memory));
    VALUE("flags", said);
    CALL(cuMemHostGetDevicePointer_v2, "in the middle", A(device), P((char *)memory + 100), 0);
    VALUE("offset", device - P(memory));
    CALL(cuMemHostGetDevicePointer_v2, "flags 1", A(device), P(memory), 1);
    CALL(cuMemHostGetDevicePointer_v2, "NULL", 0, P(memory), 0);
    CALL(cuMemHostGetFlags, "NULL", 0, P(memory));
    CALL(cuMemFreeHost, "", P(memory));
    CALL(cuMemAllocHost_v2, "0 bytes", A(memory), 0);
    CALL(cuMemHostAlloc, "0 bytes", A(memory), 0, 0);
    CALL(cuMemAllocHost_v2, "NULL", 0, 16);
    CALL(cuMemHostAlloc, "NULL", 0, 16, 0);
    CALL(cuMemFreeHost, "NULL", 0);
    CALL(cuMemFreeHost, "of the program's own memory", A(said));
    CALL(cuMemFree_v2, "of host memory", P(memory));
}

static void registered(void)
{
    static const unsigned flags[] = {0, 1, 2, 3, 4, 8, 0x10, 0x1000};
    char *memory = aligned_alloc(4096, 16 * 4096);
    word device = 0;
    unsigned said = 0;
    if (!memory)
        return;
    memset(memory, 0, 16 * 4096);
    for (size_t i = 0; i < sizeof(flags) / sizeof(*flags); i++) {
        const char *what = text_of("flags %#x", flags[i]);
        if (CALL(cuMemHostRegister_v2, what, P(memory), 4 * 4096, flags[i]) == 0) {
            CALL(cuMemHostGetFlags, text_of("registered with %#x", flags[i]), A(said), P(memory));
            VALUE("flags", said);
            CALL(cuMemHostUnregister, text_of("flags %#x", flags[i]), P(memory));
        }
    }
    CALL(cuMemHostRegister_v2, "", P(memory), 4 * 4096, 0);
    CALL(cuMemHostRegister_v2, "again", P(memory), 4 * 4096, 0);
    CALL(cuMemHostRegister_v2, "overlapping", P(memory + 4096), 8 * 4096, 0);
    CALL(cuMemHostGetDevicePointer_v2, "of registered memory", A(device), P(memory), 0);
    VALUE("the same address", device == P(memory));
    CALL(cuMemHostUnregister, "in the middle", P(memory + 4096));
    CALL(cuMemFreeHost, "of registered memory", P(memory));
    CALL(cuMemHostUnregister, "", P(memory));
    CALL(cuMemHostUnregister, "again", P(memory));
    CALL(cuMemHostUnregister, "NULL", 0);
    CALL(cuMemHostRegister_v2, "NULL", 0, 4096, 0);
    CALL(cuMemHostRegister_v2, "0 bytes", P(memory), 0, 0);
    CALL(cuMemHostRegister_v2, "not on a page", P(memory + 100), 1000, 0);
    CALL(cuMemHostUnregister, "not on a page", P(memory + 100));
    CALL(cuMemHostGetDevicePointer_v2, "of the program's own memory", A(device), P(memory), 0);
    CALL(cuMemHostGetFlags, "of the program's own memory", A(said), P(memory));
    free(memory);
}

void record_host(void)
{
    host();
    registered();
}
