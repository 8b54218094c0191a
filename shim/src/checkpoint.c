/* checkpoint.c -- what was parked in the host's memory comes back to where it is charged. */
#include <string.h>

#include "hooks.h"
#include "region.h"

/* The process that is asked may be another one: nobody here could move its charges. */
static int moves(const CUcheckpointRestoreArgs *args)
{
    for (unsigned int i = 0; args && args->gpuPairs && i < args->gpuPairsCount; i++)
        if (memcmp(&args->gpuPairs[i].oldUuid, &args->gpuPairs[i].newUuid, sizeof(CUuuid)))
            return 1;
    return 0;
}

GSHARE_HOOK(cuCheckpointProcessRestore, (int pid, CUcheckpointRestoreArgs *args))
{
    if (gs_region() && moves(args))
        return CUDA_ERROR_NOT_SUPPORTED;
    return REAL(cuCheckpointProcessRestore)(pid, args);
}
