/* copy.c -- moving bytes: what a copy or a fill costs, and what it does to memory. */
#define _GNU_SOURCE /* mincore */
#include "copy.h"
#include "address.h"
#include "process.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define STAGED_BYTES (64 * 1024) /* from pageable memory, the driver takes this much along at once */
#define START_NS     1500

void sim_transfer_cost(const struct sim_context *ctx, struct sim_work *work)
{
    const struct sim_profile *profile = &sim_device_of(ctx->device)->profile;
    uint64_t bytes, per_us;
    if (work->kind == SIM_WORK_FILL) {
        bytes = work->fill.width * work->fill.element_bytes * work->fill.height;
        per_us = profile->memory_bytes_per_us;
    } else if (work->kind == SIM_WORK_MIGRATE) {
        bytes = work->migrate.bytes;
        per_us = profile->host_bytes_per_us;
    } else {
        bool host = work->copy.source_host || work->copy.destination_host;
        bytes =
            work->copy.width * work->copy.height * work->copy.depth * (host ? 1 : 2); /* read and written */
        per_us = host ? profile->host_bytes_per_us : profile->memory_bytes_per_us;
    }
    work->duration_ns = START_NS + (uint64_t)((double)bytes * 1000.0 / (double)per_us);
    work->sms = profile->sm_count;
}

void sim_copy_perform(const struct sim_copy *c)
{
    for (uint64_t z = 0; z < c->depth; z++)
        for (uint64_t y = 0; y < c->height; y++)
            memmove(c->destination + z * c->destination_slice + y * c->destination_pitch,
                    c->source + z * c->source_slice + y * c->source_pitch, c->width);
    if (c->staged)
        free((void *)c->source);
}

void sim_fill_perform(const struct sim_fill *f)
{
    for (uint64_t y = 0; y < f->height; y++) {
        char *row = f->destination + y * f->pitch;
        if (f->element_bytes == 1)
            memset(row, (int)f->value, f->width);
        else
            for (uint64_t x = 0; x < f->width; x++)
                memcpy(row + x * f->element_bytes, &f->value, f->element_bytes); /* little endian */
    }
}

/* -------- submitting -------- */

static bool is_pinned(const void *address)
{
    struct sim_block block;
    return sim_block_find((uint64_t)address, &block);
}

/* Is something mapped at both ends?  The driver's own copying of pageable memory would end in a signal. */
static bool is_there(const void *start, uint64_t bytes)
{
    unsigned char unused;
    uint64_t first = (uint64_t)start & ~4095ull, last = ((uint64_t)start + bytes - 1) & ~4095ull;
    return last >= first && !sim_space_has(first) && mincore((void *)first, 1, &unused) == 0 &&
           (last == first || mincore((void *)last, 1, &unused) == 0);
}

static bool hosts_are_there(const struct sim_copy *c)
{
    uint64_t from = (c->depth - 1) * c->source_slice + (c->height - 1) * c->source_pitch + c->width;
    uint64_t to = (c->depth - 1) * c->destination_slice + (c->height - 1) * c->destination_pitch + c->width;
    if (c->source_host && !c->staged && !is_pinned(c->source) && !is_there(c->source, from))
        return false;
    return !c->destination_host || is_pinned(c->destination) || is_there(c->destination, to);
}

CUresult sim_copy_stage(struct sim_copy *c)
{
    char *packed = malloc(c->width * c->height * c->depth);
    if (!packed)
        return CUDA_ERROR_OUT_OF_MEMORY;
    struct sim_copy pack = *c;
    pack.destination = packed;
    pack.destination_pitch = c->width;
    pack.destination_slice = c->width * c->height;
    pack.staged = 0;
    sim_copy_perform(&pack);
    c->source = packed;
    c->source_pitch = pack.destination_pitch;
    c->source_slice = pack.destination_slice;
    c->staged = 1;
    return CUDA_SUCCESS;
}

CUresult sim_copy_submit(struct sim_stream *stream, const struct sim_copy *copy, bool synchronous)
{
    struct sim_work work = {.kind = SIM_WORK_COPY, .copy = *copy};
    struct sim_copy *c = &work.copy;
    if (c->width == 0 || c->height == 0 || c->depth == 0)
        return CUDA_SUCCESS;
    sim_transfer_cost(stream->context, &work);
    if (stream->capture)
        return synchronous ? sim_capture_forbids(stream) : sim_submit(stream, &work);
    CUresult result = hosts_are_there(c) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    if (result == CUDA_SUCCESS && stream == stream->context->legacy)
        result = sim_capture_legacy_use(stream->context);
    if (result == CUDA_SUCCESS && !synchronous) {
        if (c->source_host && !c->staged && !is_pinned(c->source)) {
            if (c->width * c->height * c->depth <= STAGED_BYTES)
                result = sim_copy_stage(c);
            else
                synchronous = true;
        }
        if (c->destination_host && !is_pinned(c->destination))
            synchronous = true;
    }
    if (result == CUDA_SUCCESS)
        result = sim_submit_now(stream, &work);
    if (result != CUDA_SUCCESS && c->staged)
        free((void *)c->source);
    if (result != CUDA_SUCCESS || !synchronous)
        return result;
    sim_point_wait(sim_stream_now(stream));
    return sim_context_error(stream->context);
}

CUresult sim_fill_submit(struct sim_stream *stream, const struct sim_fill *fill)
{
    struct sim_work work = {.kind = SIM_WORK_FILL, .fill = *fill};
    if (fill->width == 0 || fill->height == 0)
        return CUDA_SUCCESS;
    sim_transfer_cost(stream->context, &work);
    return sim_submit(stream, &work);
}

/* -------- which memory -------- */

CUresult sim_device_range(CUdeviceptr address, uint64_t bytes)
{
    struct sim_block block;
    if (bytes == 0)
        return CUDA_SUCCESS;
    for (;;) {
        if (!sim_block_find(address, &block) || (block.kind == SIM_BLOCK_VMM && !block.access))
            return CUDA_ERROR_INVALID_VALUE;
        uint64_t left = block.base + block.bytes - address;
        if (bytes <= left)
            return CUDA_SUCCESS;
        if (block.kind != SIM_BLOCK_VMM) /* only mappings can lie side by side */
            return CUDA_ERROR_INVALID_VALUE;
        bytes -= left;
        address += left;
    }
}

bool sim_is_host(uint64_t address)
{
    struct sim_block block;
    if (!sim_block_find(address, &block))
        return !sim_address_reserved(address) && !sim_space_has(address);
    return block.kind == SIM_BLOCK_HOST || block.kind == SIM_BLOCK_REGISTERED ||
           sim_block_is_host_pools(&block);
}

/* What a copy or a fill was given may have been unmapped since, in a graph above all. */
static bool still_there(const void *start, uint64_t bytes, bool host)
{
    if (sim_address_reserved((uint64_t)start))
        return sim_device_range((CUdeviceptr)start, bytes) == CUDA_SUCCESS;
    if (host || sim_space_has((uint64_t)start))
        return true;
    /* A pool's own file, say: what was freed since may be mapped still, for the next. */
    unsigned char present;
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), last = ((uint64_t)start + bytes - 1) & ~(page - 1);
    return mincore((void *)((uint64_t)start & ~(page - 1)), page, &present) == 0 &&
           mincore((void *)last, page, &present) == 0;
}

bool sim_work_still_there(const struct sim_work *work)
{
    const struct sim_copy *c = &work->copy;
    const struct sim_fill *f = &work->fill;
    if (work->kind == SIM_WORK_FILL)
        return still_there(f->destination, (f->height - 1) * f->pitch + f->width * f->element_bytes, false);
    if (work->kind != SIM_WORK_COPY)
        return still_there((const void *)work->value.address, work->value.bytes, true);
    uint64_t from = (c->depth - 1) * c->source_slice + (c->height - 1) * c->source_pitch + c->width;
    uint64_t to = (c->depth - 1) * c->destination_slice + (c->height - 1) * c->destination_pitch + c->width;
    return still_there(c->source, from, c->source_host || c->staged) &&
           still_there(c->destination, to, c->destination_host);
}
