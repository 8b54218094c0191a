/* subject_vmm.c -- addresses and physical memory apart: reserve, create, map, allow, and the way back. */
#include "recorder.h"
#include "structures.h"
#include "subjects.h"

#include <unistd.h>

#define GRAIN (2ull * MIB)

static const struct allocation good = {.type = 1, .location = {1, 0}};

static void granularity(void)
{
    struct allocation wanted = good;
    size_t bytes = 0;
    CALL(cuMemGetAllocationGranularity, "least", A(bytes), A(wanted), 0);
    VALUE("bytes", bytes);
    CALL(cuMemGetAllocationGranularity, "recommended", A(bytes), A(wanted), 1);
    VALUE("bytes", bytes);
    CALL(cuMemGetAllocationGranularity, "option 9", A(bytes), A(wanted), 9);
    CALL(cuMemGetAllocationGranularity, "NULL", 0, A(wanted), 0);
    CALL(cuMemGetAllocationGranularity, "of NULL", A(bytes), 0, 0);
    wanted.location.id = 99;
    CALL(cuMemGetAllocationGranularity, "device 99", A(bytes), A(wanted), 0);
    wanted = good;
    wanted.type = 99;
    CALL(cuMemGetAllocationGranularity, "type 99", A(bytes), A(wanted), 0);
}

static void reserve(void)
{
    word address = 0;
    CALL(cuMemAddressReserve, "2 MiB", A(address), GRAIN, 0, 0, 0);
    VALUE("aligned", address % GRAIN);
    CALL(cuMemAddressFree, "half", address, GRAIN / 2);
    CALL(cuMemAddressFree, "", address, GRAIN);
    CALL(cuMemAddressFree, "again", address, GRAIN);
    CALL(cuMemAddressReserve, "on 1 GiB", A(address), GRAIN, 1 << 30, 0, 0);
    VALUE("aligned", address % (1 << 30));
    CALL(cuMemAddressFree, "on 1 GiB", address, GRAIN);
    CALL(cuMemAddressReserve, "alignment 3", A(address), GRAIN, 3, 0, 0);
    CALL(cuMemAddressReserve, "0 bytes", A(address), 0, 0, 0, 0);
    CALL(cuMemAddressReserve, "1000 bytes", A(address), 1000, 0, 0, 0);
    CALL(cuMemAddressReserve, "flags 1", A(address), GRAIN, 0, 0, 1);
    CALL(cuMemAddressReserve, "NULL", 0, GRAIN, 0, 0, 0);
    CALL(cuMemAddressFree, "0", 0, GRAIN);
}

static void create(void)
{
    struct allocation wanted = good, said = {0};
    word handle = 0;
    uint64_t before = free_bytes();
    CALL(cuMemCreate, "2 MiB", A(handle), GRAIN, A(wanted), 0);
    VALUE("taken", in_steps((int64_t)(before - free_bytes())));
    CALL(cuMemGetAllocationPropertiesFromHandle, "", A(said), handle);
    VALUE("type", said.type);
    VALUE("location", said.location.type);
    CALL(cuMemGetAllocationPropertiesFromHandle, "NULL", 0, handle);
    int descriptor = -1;
    CALL(cuMemExportToShareableHandle, "one that cannot be", A(descriptor), handle, 1, 0);
    CALL(cuMemRelease, "", handle);
    CALL(cuMemRelease, "0", 0);
    CALL(cuMemCreate, "1000 bytes", A(handle), 1000, A(wanted), 0);
    CALL(cuMemCreate, "0 bytes", A(handle), 0, A(wanted), 0);
    CALL(cuMemCreate, "1 PiB", A(handle), PIB, A(wanted), 0);
    CALL(cuMemCreate, "flags 1", A(handle), GRAIN, A(wanted), 1);
    CALL(cuMemCreate, "NULL", 0, GRAIN, A(wanted), 0);
    CALL(cuMemCreate, "of NULL", A(handle), GRAIN, 0, 0);
    wanted.location.id = 99;
    CALL(cuMemCreate, "device 99", A(handle), GRAIN, A(wanted), 0);
    wanted = good;
    wanted.type = 99;
    CALL(cuMemCreate, "type 99", A(handle), GRAIN, A(wanted), 0);
    wanted = good;
    wanted.location.type = 9;
    CALL(cuMemCreate, "location 9", A(handle), GRAIN, A(wanted), 0);
    wanted = good;
    wanted.handle_types = 1;
    CALL(cuMemCreate, "to be exported", A(handle), GRAIN, A(wanted), 0);
    CALL(cuMemExportToShareableHandle, "", A(descriptor), handle, 1, 0);
    VALUE("a descriptor", descriptor >= 0);
    CALL(cuMemExportToShareableHandle, "flags 1", A(descriptor), handle, 1, 1);
    CALL(cuMemExportToShareableHandle, "NULL", 0, handle, 1, 0);
    CALL(cuMemExportToShareableHandle, "type 2", A(descriptor), handle, 2, 0);
    word again = 0;
    CALL(cuMemImportFromShareableHandle, "what was exported", A(again), (word)descriptor, 1);
    CALL(cuMemRelease, "imported", again);
    CALL(cuMemImportFromShareableHandle, "descriptor -1", A(again), (word)-1, 1);
    if (descriptor >= 0)
        close(descriptor);
    CALL(cuMemRelease, "exported", handle);
}

static void map(void)
{
    struct access access = {{1, 0}, 3};
    struct location here = {1, 0};
    word address = 0, handle = 0, again = 0;
    uint64_t flags = 9;
    char byte = 0;
    DO(cuMemAddressReserve, A(address), 4 * GRAIN, 0, 0, 0);
    DO(cuMemCreate, A(handle), 2 * GRAIN, A(good), 0);
    CALL(cuMemSetAccess, "nothing mapped", address, 2 * GRAIN, A(access), 1);
    CALL(cuMemMap, "", address, 2 * GRAIN, 0, handle, 0);
    CALL(cuMemMap, "again", address, 2 * GRAIN, 0, handle, 0);
    CALL(cuMemMap, "beyond the reservation", address + 3 * GRAIN, 2 * GRAIN, 0, handle, 0);
    CALL(cuMemMap, "flags 1", address + 2 * GRAIN, GRAIN, 0, handle, 1);
    CALL(cuMemMap, "1000 bytes", address + 2 * GRAIN, 1000, 0, handle, 0);
    CALL(cuMemMap, "more than the handle has", address + 2 * GRAIN, 2 * GRAIN, GRAIN, handle, 0);
    CALL(cuMemMap, "handle 0", address + 2 * GRAIN, GRAIN, 0, 0, 0);
    CALL(cuMemMap, "at 0", 0, GRAIN, 0, handle, 0);
    CALL(cuMemGetAccess, "before cuMemSetAccess", A(flags), A(here), address);
    VALUE("flags", flags);
    CALL(cuMemSetAccess, "to read and write", address, 2 * GRAIN, A(access), 1);
    CALL(cuMemGetAccess, "after cuMemSetAccess", A(flags), A(here), address);
    VALUE("flags", flags);
    access.flags = 1;
    CALL(cuMemSetAccess, "to read", address, GRAIN, A(access), 1);
    CALL(cuMemGetAccess, "after cuMemSetAccess to read", A(flags), A(here), address);
    VALUE("flags", flags);
    access.flags = 7;
    CALL(cuMemSetAccess, "flags 7", address, GRAIN, A(access), 1);
    access.flags = 3;
    CALL(cuMemSetAccess, "0 descriptors", address, GRAIN, A(access), 0);
    CALL(cuMemSetAccess, "NULL", address, GRAIN, 0, 1);
    access.location.id = 99;
    CALL(cuMemSetAccess, "device 99", address, GRAIN, A(access), 1);
    access.location.id = 0;
    CALL(cuMemSetAccess, "more than is mapped", address, 4 * GRAIN, A(access), 1);
    CALL(cuMemSetAccess, "back", address, 2 * GRAIN, A(access), 1);
    CALL(cuMemGetAccess, "into NULL", 0, A(here), address);
    CALL(cuMemGetAccess, "nothing mapped", A(flags), A(here), address + 3 * GRAIN);
    CALL(cuMemsetD8_v2, "of mapped memory", address, 5, 2 * GRAIN);
    CALL(cuMemcpyDtoH_v2, "of mapped memory", P(&byte), address + GRAIN, 1);
    VALUE("byte", byte);
    CALL(cuMemRetainAllocationHandle, "", A(again), address + 100);
    VALUE("the same handle", again == handle);
    CALL(cuMemRetainAllocationHandle, "nothing mapped", A(again), address + 3 * GRAIN);
    CALL(cuMemRetainAllocationHandle, "NULL", 0, address);
    CALL(cuMemRelease, "retained", handle);
    CALL(cuMemRelease, "while mapped", handle);
    CALL(cuMemsetD8_v2, "released, still mapped", address, 6, GRAIN);
    CALL(cuMemAddressFree, "while mapped", address, 4 * GRAIN);
    CALL(cuMemFree_v2, "of mapped memory", address);
    CALL(cuMemUnmap, "half of a mapping", address, GRAIN);
    uint64_t before = free_bytes();
    CALL(cuMemUnmap, "", address, 2 * GRAIN);
    VALUE("given back", in_steps((int64_t)(free_bytes() - before)));
    CALL(cuMemUnmap, "again", address, 2 * GRAIN);
    CALL(cuMemUnmap, "0", 0, GRAIN);
    CALL(cuMemAddressFree, "at the end", address, 4 * GRAIN);
}

static void multicast(void)
{
    struct {
        unsigned devices;
        size_t bytes;
        unsigned long long handle_types, flags;
    } wanted = {1, GRAIN, 0, 0};
    size_t bytes = 0;
    word handle = 0;
    CALL(cuMulticastGetGranularity, "one device", A(bytes), A(wanted), 0);
    CALL(cuMulticastGetGranularity, "NULL", 0, A(wanted), 0);
    CALL(cuMulticastCreate, "one device", A(handle), A(wanted));
    CALL(cuMulticastCreate, "NULL", 0, 0);
}

void record_vmm(void)
{
    granularity();
    reserve();
    create();
    map();
    multicast();
}
