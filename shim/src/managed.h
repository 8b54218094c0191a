/* managed.h -- managed memory that has been sent to devices beside the one that it is charged to. */
#ifndef GS_MANAGED_H
#define GS_MANAGED_H

#include "ledger.h"
#include "driver.h"

/* An allocation has been freed: what it was charged for elsewhere is given back, once the stream is so far. */
void gs_managed_freed(CUdeviceptr pointer, CUstream stream);

#endif
