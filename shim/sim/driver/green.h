/* green.h -- green contexts: parts of a device's SMs, with streams of their own, in the primary context. */
#ifndef SIM_GREEN_H
#define SIM_GREEN_H

#include "sim.h"

enum { CU_DEV_RESOURCE_TYPE_INVALID = 0, CU_DEV_RESOURCE_TYPE_SM = 1 };

/* What the driver keeps in the padding of a CUdevResource. */
struct sim_part {
    uint32_t magic;
    uint32_t device;
    uint64_t split; /* results of one split have the same; 0: may be split */
    struct sim_sms sms;
};

typedef struct {
    int type;
    unsigned char padding[92];
    unsigned sm_count;
    unsigned min_partition;
    unsigned coscheduled; /* alignment */
    unsigned flags;       /* since 13.1, as the next one */
    unsigned locality;
    unsigned char oversize[20];
    void *next_resource; /* before 13.1 these 8 bytes are part of the oversize */
} CUdevResource;

struct sim_resource_desc {
    uint32_t magic;
    uint32_t device;
    struct sim_sms sms;
};

typedef struct sim_green *CUgreenCtx;

struct sim_green {
    uint32_t magic;
    CUdevice device;
    struct sim_context *context; /* what cuCtxFromGreenCtx returns: the primary context with these SMs only */
    struct sim_sms sms;
};

uint32_t sim_sms_count(const struct sim_sms *sms);
/* resource.c: fill in a resource of those SMs. */
void sim_resource_of(CUdevResource *resource, CUdevice device, const struct sim_sms *sms, uint64_t split);
/* A descriptor that cuDevResourceGenerateDesc returned? */
bool sim_is_desc(const struct sim_resource_desc *desc);

/* green.c: a context closes, and its green contexts with it. */
void sim_green_forget(struct sim_context *ctx);
/* primary.c */
CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device);

/* context_event.c: everything that the context, and its green ones, was given so far; all that it will be given. */
CUresult sim_context_record(struct sim_context *ctx, struct sim_event *event);
CUresult sim_context_wait(struct sim_context *ctx, struct sim_event *event);

#endif
