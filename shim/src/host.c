/* host.c -- pinned memory of the host, allocated or registered: charged in whole pages, on a row of its own.
 *
 * NVIDIA documents no size that allocations are rounded to.  Pages are what can be pinned; several small allocations
 * may share some, so that whole pages for each are the most that they take. */
#include <unistd.h>

#include "device.h"
#include "hooks.h"
#include "physical.h"
#include "region.h"
#include "reserve.h"

/* No process has more addresses. */
#define MOST_BYTES ((uint64_t)1 << 56)

/* Portable, mapped, write-combined. */
#define KNOWN_ALLOC_FLAGS 7u

/* Portable, mapped, of a device, read-only. */
#define KNOWN_REGISTER_FLAGS 15u
#define CU_MEMHOSTREGISTER_IOMEMORY                                                                          \
    4u /* the driver takes nothing but the memory of another device for that */

static uint64_t whole_pages(uint64_t address, uint64_t bytes)
{
    uint64_t page = (uint64_t)getpagesize();
    uint64_t first = address / page, end = (address + bytes + page - 1) / page;

    return (end - first) * page;
}

/* False: the driver is just asked.  Memory goes with its context, as CUDA says of cuCtxDestroy. */
static int is_ours(struct gs_entry *entry, uint64_t address, uint64_t bytes)
{
    CUcontext context = NULL;

    if (!gs_region() || !bytes || bytes > MOST_BYTES || address > MOST_BYTES ||
        REAL(cuCtxGetCurrent)(&context) || !context)
        return 0;
    *entry = (struct gs_entry){.bytes = whole_pages(address, bytes),
                               .owner = (uint64_t)context,
                               .device = GS_HOST_ROW,
                               .kind = GS_LINEAR};
    return 1;
}

static int reserve(const struct gs_entry *entry)
{
    return gs_reserve(entry->device, entry->kind, entry->bytes);
}

static void release(const struct gs_entry *entry)
{
    gs_quota_release(entry->device, entry->kind, entry->bytes);
}

/* False: no memory for it. */
static int note(enum gs_name kind, const void *address, const struct gs_entry *entry)
{
    struct gs_entry stale;
    enum gs_noted noted = gs_ledger_put(gs_name(kind, (uint64_t)address), entry, &stale);

    if (noted == GS_NOTED_OVER) /* its context is going, and the driver has given its address out again */
        release(&stale);
    return noted != GS_NOT_NOTED;
}

static int is_noted(enum gs_name kind, const void *address)
{
    struct gs_entry entry;

    return gs_ledger_find(gs_name(kind, (uint64_t)address), &entry);
}

/* The note is taken before the driver is asked: once freed, another thread may get the same address. */
static int take(enum gs_name kind, const void *address, struct gs_entry *entry)
{
    return gs_region() && gs_ledger_take(gs_name(kind, (uint64_t)address), entry);
}

static CUresult ended(CUresult result, int known, enum gs_name kind, const void *address,
                      const struct gs_entry *entry)
{
    if (known && result)
        note(kind, address, entry); /* room for it was there a moment ago */
    else if (known)
        release(entry);
    return result;
}

/* -------- allocations -------- */

static CUresult allocated(CUresult result, void **address, const struct gs_entry *entry)
{
    if (!result && note(GS_NAME_HOST, *address, entry))
        return CUDA_SUCCESS;
    if (!result)
        REAL(cuMemFreeHost)(*address);
    release(entry);
    return result ? result : CUDA_ERROR_OUT_OF_MEMORY;
}

GSHARE_HOOK(cuMemAllocHost, (void **pp, unsigned int bytesize))
{
    struct gs_entry entry;

    if (!pp || !is_ours(&entry, 0, bytesize))
        return REAL(cuMemAllocHost)(pp, bytesize);
    if (!reserve(&entry))
        return gs_refuse(__func__, entry.device, entry.bytes);
    return allocated(REAL(cuMemAllocHost)(pp, bytesize), pp, &entry);
}

GSHARE_HOOK(cuMemAllocHost_v2, (void **pp, size_t bytesize))
{
    struct gs_entry entry;

    if (!pp || !is_ours(&entry, 0, bytesize))
        return REAL(cuMemAllocHost_v2)(pp, bytesize);
    if (!reserve(&entry))
        return gs_refuse(__func__, entry.device, entry.bytes);
    return allocated(REAL(cuMemAllocHost_v2)(pp, bytesize), pp, &entry);
}

/* Flags that we do not know may be wrong, which the driver says first. */
static CUresult refuse_alloc(size_t bytes, unsigned int flags, const struct gs_entry *entry)
{
    CUresult result;
    void *address;

    if (flags & ~KNOWN_ALLOC_FLAGS) {
        result = REAL(cuMemHostAlloc)(&address, bytes, flags);
        if (result)
            return result;
        REAL(cuMemFreeHost)(address);
    }
    return gs_refuse("cuMemHostAlloc", entry->device, entry->bytes);
}

GSHARE_HOOK(cuMemHostAlloc, (void **pp, size_t bytesize, unsigned int Flags))
{
    struct gs_entry entry;

    if (!pp || !is_ours(&entry, 0, bytesize))
        return REAL(cuMemHostAlloc)(pp, bytesize, Flags);
    if (!reserve(&entry))
        return refuse_alloc(bytesize, Flags, &entry);
    return allocated(REAL(cuMemHostAlloc)(pp, bytesize, Flags), pp, &entry);
}

GSHARE_HOOK(cuMemFreeHost, (void *p))
{
    struct gs_entry entry;
    int known = take(GS_NAME_HOST, p, &entry);

    return ended(REAL(cuMemFreeHost)(p), known, GS_NAME_HOST, p, &entry);
}

/* -------- registered ranges -------- */

static CUresult registered(CUresult result, void *address, const struct gs_entry *entry)
{
    if (!result && note(GS_NAME_REGISTERED, address, entry))
        return CUDA_SUCCESS;
    if (!result)
        REAL(cuMemHostUnregister)(address);
    release(entry);
    return result ? result : CUDA_ERROR_OUT_OF_MEMORY;
}

/* Programs register what is registered already, and go on: that is the driver's to say, as with unknown flags. */
static CUresult refuse_register(const char *api, void *address, size_t bytes, unsigned int flags,
                                const struct gs_entry *entry)
{
    CUresult result;

    if (flags & ~KNOWN_REGISTER_FLAGS || is_noted(GS_NAME_REGISTERED, address) ||
        is_noted(GS_NAME_HOST, address)) {
        result = REAL(cuMemHostRegister_v2)(address, bytes, flags);
        if (result)
            return result;
        REAL(cuMemHostUnregister)(address);
    }
    return gs_refuse(api, entry->device, entry->bytes);
}

GSHARE_HOOK(cuMemHostRegister, (void *p, size_t bytesize, unsigned int Flags))
{
    struct gs_entry entry;

    if (!p || Flags & CU_MEMHOSTREGISTER_IOMEMORY || !is_ours(&entry, (uint64_t)p, bytesize))
        return REAL(cuMemHostRegister)(p, bytesize, Flags);
    if (!reserve(&entry))
        return refuse_register(__func__, p, bytesize, Flags, &entry);
    return registered(REAL(cuMemHostRegister)(p, bytesize, Flags), p, &entry);
}

GSHARE_HOOK(cuMemHostRegister_v2, (void *p, size_t bytesize, unsigned int Flags))
{
    struct gs_entry entry;

    if (!p || Flags & CU_MEMHOSTREGISTER_IOMEMORY || !is_ours(&entry, (uint64_t)p, bytesize))
        return REAL(cuMemHostRegister_v2)(p, bytesize, Flags);
    if (!reserve(&entry))
        return refuse_register(__func__, p, bytesize, Flags, &entry);
    return registered(REAL(cuMemHostRegister_v2)(p, bytesize, Flags), p, &entry);
}

GSHARE_HOOK(cuMemHostUnregister, (void *p))
{
    struct gs_entry entry;
    int known = take(GS_NAME_REGISTERED, p, &entry);

    return ended(REAL(cuMemHostUnregister)(p), known, GS_NAME_REGISTERED, p, &entry);
}
