/* maker.h -- another process, which has memory that this one imports. */
#ifndef MAKER_H
#define MAKER_H

#include <stddef.h>

/* Before any CUDA call. */
void maker_start(void);
/* Have it make something, and what it says of it: bytes, and perhaps a descriptor.  Returns the driver's code. */
int maker_make(const char *what, void *said, size_t bytes, int *descriptor);
/* What it made is gone, and so is its context. */
void maker_forget(void);

#endif
