/* subjects.h -- the groups of calls, one for each subject. */
#ifndef SUBJECTS_H
#define SUBJECTS_H

void record_before_init(void);
void record_no_context(void);
void record_no_device(void);
void record_device(void);
void record_context(void);
void record_limits(void);
void record_memory(void);
void record_pitched(void);
void record_host(void);
void record_managed(void);
void record_pointer(void);
void record_pool(void);
void record_vmm(void);
void record_array(void);
void record_copy(void);
void record_stream(void);
void record_event(void);
void record_module(void);
void record_function(void);
void record_library(void);
void record_launch(void);
void record_occupancy(void);
void record_graph(void);
void record_capture(void);
void record_ipc(void);
void record_green(void);
void record_lookup(void);
void record_destroyed(void);
void record_trap(void);
void record_illegal_address(void);

#endif
