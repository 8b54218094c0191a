/* fork.h -- what a process and its child keep and forget when it forks. */
#ifndef GS_FORK_H
#define GS_FORK_H

/* From the first mapping on; once per process. */
void gs_fork_watch(void);

#endif
