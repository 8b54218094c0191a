/* event_ipc.h -- events that several processes know. */
#ifndef SIM_EVENT_IPC_H
#define SIM_EVENT_IPC_H

#include "sim.h"

/* The event goes; false: its slot is another process's, or still in use by one. */
bool sim_event_unshare(const struct sim_event *event);
/* Before it is recorded in the stream: what the stream's work did to memory will be done when another process sees the
 * record done. */
CUresult sim_event_publish(struct sim_stream *stream);

#endif
