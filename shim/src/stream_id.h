/* stream_id.h -- what tells a stream from all others of the process, earlier ones included. */
#ifndef GS_STREAM_ID_H
#define GS_STREAM_ID_H

#include <stdint.h>

#include "driver.h"

/* A default stream is one of its context, and perhaps thread, whatever its handle.  0 only where there is no context. */
uint64_t gs_stream_id(CUstream stream);

#endif
