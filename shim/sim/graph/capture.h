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
extern struct sim_capture *sim_captures;
extern _Atomic unsigned sim_captures_active; /* how many: most calls need to know no more */
extern __thread enum sim_capture_mode sim_thread_mode;

/* With the lock held.  The capture accepts nothing any more; returns `why`. */
CUresult sim_capture_invalidate(struct sim_capture *capture, CUresult why);
CUresult sim_capture_join(struct sim_capture *capture, struct sim_stream *stream,
                          struct sim_capturing **part);

/* A graph that is launched in a capturing stream becomes a child. */
CUresult sim_capture_graph(struct sim_stream *stream, struct sim_graph *graph);

/* Is a blocking stream of that context capturing?  Then its legacy stream cannot be used. */
bool sim_capture_in(const struct sim_context *ctx);

#endif
