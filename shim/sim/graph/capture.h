/* capture.h -- what capture.c shares with the questions about captures. */
#ifndef SIM_CAPTURE_H
#define SIM_CAPTURE_H

#include "graph.h"

enum sim_capture_mode { SIM_CAPTURE_GLOBAL, SIM_CAPTURE_THREAD_LOCAL, SIM_CAPTURE_RELAXED };
enum sim_capture_status { SIM_CAPTURE_NONE, SIM_CAPTURE_ACTIVE, SIM_CAPTURE_INVALIDATED };

struct sim_capture {
    struct sim_capture *next;
    unsigned long long id;
    enum sim_capture_mode mode;
    enum sim_capture_status status;
    pthread_t thread;
    struct sim_stream *origin;
    struct sim_graph *graph;
    bool graph_is_callers;
    struct sim_capturing *streams;
};

/* One stream's part: what sim_stream.capture points to. */
struct sim_capturing {
    struct sim_capture *capture;
    struct sim_stream *stream;
    struct sim_capturing *next;
    struct sim_node_list before; /* what its next node depends on */
};

/* Guards all of it. */
extern pthread_mutex_t sim_capture_lock;

/* Is a blocking stream of that context capturing?  Then its legacy stream cannot be used. */
bool sim_capture_in(const struct sim_context *ctx);

#endif
