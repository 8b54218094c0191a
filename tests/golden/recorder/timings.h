/* timings.h -- facts of time about the GPU and the driver at hand, as raw samples.
 *
 * A fact is a name, a unit and what was measured each time; a code that is not 0 says which call refused.  Each
 * measurement runs in a process of its own and writes to shared memory. */
#ifndef TIMINGS_H
#define TIMINGS_H

#include "report.h"

#define MAX_FACTS   64
#define MAX_SAMPLES 4096

struct fact {
    char name[64], unit[8];
    int32_t code;
    uint32_t count;
    double sample[MAX_SAMPLES];
};

struct facts {
    _Atomic uint32_t ready, stage; /* how far the processes of one measurement are */
    _Atomic int pid;               /* of the other process */
    double took_ns;                /* its last step */
    uint32_t count;
    struct fact fact[MAX_FACTS];
};

extern struct facts *facts;

struct fact *new_fact(const char *name, const char *unit);
void sample(struct fact *fact, double value);

/* Wait until `count` processes have said that they are ready, until the stage is `stage`. */
void say_ready(void);
void wait_ready(uint32_t count);
void set_stage(uint32_t stage);
void wait_stage(uint32_t stage);
/* Run `work` in another process, which ends with this one; before any CUDA call. */
void beside(void (*work)(void));
/* Keeps the GPU busy until stage 2 is set. */
void compete(void);

void time_calls(const void *);
void time_copies(const void *);
void time_start_stamps(const void *others);
void time_slices(const void *others);
void time_gaps(const void *others);
void time_context_memory(const void *);
void time_checkpoint(const void *);

/* All of them, or `only` the one of that name. */
int record_timings(FILE *out, const struct identity *identity, const char *only);

#endif
