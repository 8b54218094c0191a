/* self.h -- what tells this process from all others, as the kernel says; 0 where /proc does not. */
#ifndef GS_SELF_H
#define GS_SELF_H

#include <stdint.h>

uint64_t gs_own_start_ticks(void); /* when it was started */
uint32_t gs_own_pid_space(void);   /* which numbers of processes its own is one of */

#endif
