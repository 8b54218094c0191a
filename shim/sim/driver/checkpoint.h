/* checkpoint.h -- the public types of the checkpoint calls, and what they need of memory. */
#ifndef SIM_CHECKPOINT_H
#define SIM_CHECKPOINT_H

#include "sim.h"

typedef enum {
    CU_PROCESS_STATE_RUNNING = 0,
    CU_PROCESS_STATE_LOCKED = 1,
    CU_PROCESS_STATE_CHECKPOINTED = 2,
    CU_PROCESS_STATE_FAILED = 3
} CUprocessState;

typedef struct {
    unsigned int timeoutMs;
    unsigned int reserved0;
    uint64_t reserved1[7];
} CUcheckpointLockArgs;

typedef struct {
    uint64_t reserved[8];
} CUcheckpointCheckpointArgs, CUcheckpointUnlockArgs;

typedef struct {
    CUuuid oldUuid, newUuid;
} CUcheckpointGpuPair;

typedef struct {
    CUcheckpointGpuPair *gpuPairs;
    unsigned int gpuPairsCount;
    char reserved[52 - sizeof(CUcheckpointGpuPair *)];
    uint64_t reserved1;
} CUcheckpointRestoreArgs;

/* park.c: device data goes to host memory and back to its addresses, where nothing can be read meanwhile. */

/* CUDA_ERROR_NOT_SUPPORTED when memory is in use that cannot be parked: managed, shared with other processes. */
CUresult sim_memory_parkable(void);
/* False, and nothing changed, when the system refuses. */
bool sim_memory_park(void);
bool sim_memory_unpark(void);

#endif
