/* ipc.h -- device memory of other processes: what this one lends, and what it has mapped of theirs. */
#ifndef SIM_IPC_H
#define SIM_IPC_H

#include "share.h"
#include "sim.h"

/* What a handle or a file says of a share; the rest of the words is zero. */
struct sim_share_name {
    uint64_t magic, serial;
    uint32_t share, purpose;
    uint64_t offset, bytes; /* POOL: the allocation */
};

#define SIM_SHARE_MAGIC 0x6572616873676973ull /* "sigshare" */

/* The maker's or a holder's own view of it, copied; false: there is none any more. */
bool sim_share_look(const struct sim_share_name *name, struct sim_share *found);
/* This process holds it from now on.  CUDA_ERROR_INVALID_HANDLE: it is gone. */
CUresult sim_share_take(const struct sim_share_name *name, struct sim_share *found);
void sim_share_let_go(uint32_t share);
/* CUdevice of a device of the machine; -1: not visible. */
CUdevice sim_device_ordinal(uint32_t index);

/* export.c: only descriptors can be had. */
CUresult sim_handle_type_check(int type);

/* -------- ipc.c -------- */

/* The block is freed: its space goes back when nobody has it mapped.  With sim_memory_lock held. */
void sim_ipc_let_go(const struct sim_block *block);

/* -------- import.c: memory of a file that is mapped here, one block each -------- */

/* Maps `bytes` of the file from `offset` on (anywhere in a page).  Takes over a hold on the share, which goes with the
 * mapping; 0: none. */
CUresult sim_import_open(enum sim_block_kind kind, struct sim_context *ctx, CUdevice device, int fd,
                         uint64_t offset, uint64_t bytes, uint32_t share, void *owner, CUdeviceptr *address);
/* One user less; without users it is unmapped.  CUDA_ERROR_INVALID_VALUE: no such block there. */
CUresult sim_import_close(CUdeviceptr address, enum sim_block_kind kind);
/* What this process has mapped of that share already: the address, one user more, and by which context. */
bool sim_import_again(uint32_t share, struct sim_context **ctx, CUdeviceptr *address);
/* The context goes, and what was mapped in it. */
void sim_imports_forget(struct sim_context *ctx);
/* The same for what no context has: what came from pools of that device. */
void sim_imports_forget_pools(CUdevice device);

#endif
