/* managed_advice.c -- advice about managed memory, and what a program can ask about a range of it. */
#include "managed.h"
#include "process.h"

#include <string.h>

enum {
    READ_MOSTLY = 1,
    PREFERRED_LOCATION,
    ACCESSED_BY,
    LAST_PREFETCH_LOCATION,
    PREFERRED_LOCATION_TYPE,
    PREFERRED_LOCATION_ID,
    LAST_PREFETCH_LOCATION_TYPE,
    LAST_PREFETCH_LOCATION_ID
};

static uint32_t processor(CUmemLocation location)
{
    return location.type == CU_MEM_LOCATION_TYPE_DEVICE ? 1u << location.id : SIM_ON_HOST;
}

static void apply(struct sim_span *span, int advice, CUmemLocation location)
{
    switch (advice) {
    case CU_MEM_ADVISE_SET_READ_MOSTLY:
        span->read_mostly = true;
        break;
    case CU_MEM_ADVISE_UNSET_READ_MOSTLY:
        span->read_mostly = false;
        break;
    case CU_MEM_ADVISE_SET_PREFERRED_LOCATION:
        span->preferred = location;
        break;
    case CU_MEM_ADVISE_UNSET_PREFERRED_LOCATION:
        span->preferred = (CUmemLocation){0};
        break;
    case CU_MEM_ADVISE_SET_ACCESSED_BY:
        span->accessed_by |= processor(location);
        break;
    default:
        span->accessed_by &= ~processor(location);
    }
}

static CUresult advise(CUdeviceptr address, size_t bytes, int advice, CUmemLocation location)
{
    struct sim_range range;
    if (advice < CU_MEM_ADVISE_SET_READ_MOSTLY || advice > CU_MEM_ADVISE_UNSET_ACCESSED_BY)
        return CUDA_ERROR_INVALID_VALUE;
    bool accessed = advice == CU_MEM_ADVISE_SET_ACCESSED_BY || advice == CU_MEM_ADVISE_UNSET_ACCESSED_BY;
    if (accessed && location.type != CU_MEM_LOCATION_TYPE_DEVICE &&
        location.type != CU_MEM_LOCATION_TYPE_HOST)
        return CUDA_ERROR_INVALID_VALUE;
    if (accessed || advice == CU_MEM_ADVISE_SET_PREFERRED_LOCATION)
        SIM_TRY(sim_location_check(&location));
    pthread_mutex_lock(&sim_memory_lock);
    CUresult result = sim_managed_range(address, bytes, &range);
    if (result == CUDA_SUCCESS) {
        if (advice == CU_MEM_ADVISE_UNSET_READ_MOSTLY)
            result = sim_managed_collapse(&range);
        struct sim_span *span = sim_managed_cut(&range);
        if (!span)
            result = CUDA_ERROR_OUT_OF_MEMORY;
        for (; span && span->from < range.to; span = span->next)
            apply(span, advice, location);
        sim_managed_join(range.managed);
    }
    pthread_mutex_unlock(&sim_memory_lock);
    return result;
}

SIM_API(cuMemAdvise, (CUdeviceptr address, size_t bytes, int advice, CUdevice device))
{
    SIM_ENTER_CONTEXT(cuMemAdvise, ctx);
    return advise(address, bytes, advice, sim_location_of(device));
}

SIM_API(cuMemAdvise_v2, (CUdeviceptr address, size_t bytes, int advice, CUmemLocation location))
{
    SIM_ENTER_CONTEXT(cuMemAdvise_v2, ctx);
    return advise(address, bytes, advice, location);
}

/* -------- questions -------- */

/* Where all of the range is meant to be, or was last sent; type 0 when its pages differ or were never told. */
static CUmemLocation common(const struct sim_span *span, uint64_t to, bool prefetched)
{
    CUmemLocation first = prefetched ? span->prefetched : span->preferred;
    for (; span && span->from < to; span = span->next) {
        CUmemLocation own = prefetched ? span->prefetched : span->preferred;
        if (own.type != first.type || own.id != first.id)
            return (CUmemLocation){0};
    }
    return first;
}

/* As the attributes without a type say it. */
static int ordinal(CUmemLocation location)
{
    switch (location.type) {
    case CU_MEM_LOCATION_TYPE_INVALID:
        return CU_DEVICE_INVALID;
    case CU_MEM_LOCATION_TYPE_DEVICE:
        return location.id;
    default:
        return CU_DEVICE_CPU;
    }
}

static void list_accessors(const struct sim_span *span, uint64_t to, int *out, size_t places)
{
    uint32_t by = UINT32_MAX;
    size_t n = 0;
    for (; span && span->from < to; span = span->next)
        by &= span->accessed_by;
    for (CUdevice d = 0; d < sim_driver.device_count && n < places; d++)
        if (by & 1u << d)
            out[n++] = d;
    if ((by & SIM_ON_HOST) && n < places)
        out[n++] = CU_DEVICE_CPU;
    while (n < places)
        out[n++] = CU_DEVICE_INVALID;
}

static CUresult answer(int attribute, const struct sim_range *range, const struct sim_span *span, int *out,
                       size_t size)
{
    bool prefetched = attribute == LAST_PREFETCH_LOCATION || attribute >= LAST_PREFETCH_LOCATION_TYPE;
    switch (attribute) {
    case READ_MOSTLY:
        *out = 1;
        for (; span && span->from < range->to; span = span->next)
            *out &= span->read_mostly;
        break;
    case ACCESSED_BY:
        list_accessors(span, range->to, out, size / sizeof(int));
        break;
    case PREFERRED_LOCATION:
    case LAST_PREFETCH_LOCATION:
        *out = ordinal(common(span, range->to, prefetched));
        break;
    case PREFERRED_LOCATION_TYPE:
    case LAST_PREFETCH_LOCATION_TYPE:
        *out = (int)common(span, range->to, prefetched).type;
        break;
    default:
        *out = common(span, range->to, prefetched).id;
    }
    return CUDA_SUCCESS;
}

static bool asked_well(const void *data, size_t size, int attribute)
{
    if (!data || attribute < READ_MOSTLY || attribute > LAST_PREFETCH_LOCATION_ID)
        return false;
    return attribute == ACCESSED_BY ? size != 0 && size % sizeof(int) == 0 : size == sizeof(int);
}

static CUresult query(void *const *data, const size_t *size, const int *attribute, size_t count,
                      CUdeviceptr address, size_t bytes)
{
    struct sim_range range;
    for (size_t i = 0; i < count; i++)
        if (!asked_well(data[i], size[i], attribute[i]))
            return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&sim_memory_lock);
    CUresult result = sim_managed_range(address, bytes, &range);
    const struct sim_span *span = result == CUDA_SUCCESS ? range.managed->spans : NULL;
    while (span && span->to <= range.from)
        span = span->next;
    for (size_t i = 0; i < count && result == CUDA_SUCCESS; i++)
        result = answer(attribute[i], &range, span, data[i], size[i]);
    pthread_mutex_unlock(&sim_memory_lock);
    return result;
}

SIM_API(cuMemRangeGetAttribute, (void *data, size_t size, int attribute, CUdeviceptr address, size_t bytes))
{
    SIM_ENTER_CONTEXT(cuMemRangeGetAttribute, ctx);
    return query(&data, &size, &attribute, 1, address, bytes);
}

SIM_API(cuMemRangeGetAttributes,
        (void **data, size_t *size, int *attribute, size_t count, CUdeviceptr address, size_t bytes))
{
    SIM_ENTER_CONTEXT(cuMemRangeGetAttributes, ctx);
    if (!data || !size || !attribute || count == 0)
        return CUDA_ERROR_INVALID_VALUE;
    return query(data, size, attribute, count, address, bytes);
}

/* -------- residency -------- */

#define SAMPLE SIM_PHYSICAL_GRAIN /* where the program leaves the distance to the driver */

static uint32_t copies_at(const struct sim_managed *managed, uint64_t at)
{
    const struct sim_span *span = managed->spans;
    while (span->to <= at)
        span = span->next;
    return span->copies;
}

/* The most frequent processor among samples of [from, to); of several equally frequent ones a device. */
static CUmemLocation summary(const struct sim_managed *managed, uint64_t from, uint64_t to, uint64_t step)
{
    uint64_t count[32] = {0};
    for (uint64_t at = from; at < to; at += step) {
        uint32_t copies = copies_at(managed, at);
        count[__builtin_ctz(copies)]++;
    }
    unsigned best = 31;
    for (unsigned p = 0; p < 32; p++)
        if (count[p] > count[best] || (count[p] == count[best] && count[p] && best == 31))
            best = p;
    return best == 31 ? (CUmemLocation){CU_MEM_LOCATION_TYPE_HOST, 0}
                      : (CUmemLocation){CU_MEM_LOCATION_TYPE_DEVICE, (int)best};
}

SIM_API(cuMemGetLocationInfo,
        (CUdeviceptr address, size_t bytes, size_t summary_bytes, size_t sample_bytes, CUmemLocation *out))
{
    SIM_ENTER_CONTEXT(cuMemGetLocationInfo, ctx);
    struct sim_range range;
    if (!out || summary_bytes == 0 || summary_bytes > bytes || sample_bytes > summary_bytes)
        return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&sim_memory_lock);
    CUresult result = sim_managed_range(address, bytes, &range);
    if (result == CUDA_SUCCESS) {
        uint64_t first = address - range.managed->base, last = first + bytes;
        for (uint64_t at = first; at < last; at += summary_bytes, out++) {
            uint64_t end = last - at < summary_bytes ? last : at + summary_bytes;
            *out = summary(range.managed, at, end, sample_bytes ? sample_bytes : SAMPLE);
        }
    }
    pthread_mutex_unlock(&sim_memory_lock);
    return result;
}
