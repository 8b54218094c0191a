/* probe.h -- the doors to a GPU's memory: how each takes it, and every legal way to give it back.
 *
 * A door is a function of the driver that takes device memory, or might be thought to; doors.def lists them, with
 * the kind of thing that each makes, and for each kind the ways to give it back.  The program does one step when it
 * is told to and says what the driver answered; it judges nothing.  Functions are found on one of three roads. */
#ifndef PROBE_H
#define PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "structures.h"

typedef uint64_t word; /* every argument goes in a register or a stack slot of its own, whatever its type */

#define ABSENT (-1) /* the driver has no such function */
#define FAILED (-2) /* something other than the driver went wrong */

/* What most doors are asked for. */
enum { PIECE = 6 * MIB };

struct door {
    const char *name, *variant; /* the function, and in what case */
    const char *kind, *charge;
    int (*take)(const struct door *door);
};

struct way {
    const char *kind, *name; /* the function whose call gives the last of it back */
    const char *setting;
    int (*give)(const struct way *way);
};

/* What lasts from step to step. */
struct held {
    word object;  /* what the door made */
    word more[4]; /* what else belongs to it */
    word context; /* the current one */
    word stream;
    size_t bytes;
    int descriptor; /* -1: none */
};

extern struct held held;
extern int device;

/* roads.c */
bool choose_road(const char *name);
/* NULL: the driver has none of that name. */
void *driver_function(const char *symbol);
int driver_call(const char *function, unsigned count, const word *args);

/* What is done in the midst of a step so that its effect can be looked at: `what` is said, and an answer awaited. */
void look(const char *what);

#define ARGS(...)                                                                                            \
    (const word[])                                                                                           \
    {                                                                                                        \
        0, ##__VA_ARGS__                                                                                     \
    }
#define COUNT(...)        (sizeof(ARGS(__VA_ARGS__)) / sizeof(word) - 1)
#define CALL(name, ...)   driver_call(name, COUNT(__VA_ARGS__), ARGS(__VA_ARGS__) + 1)
#define DO(function, ...) CALL(#function, __VA_ARGS__)
#define A(variable)       ((word)(uintptr_t) & (variable))
#define P(pointer)        ((word)(uintptr_t)(pointer))

#define DOOR(name, variant, take, kind, charge) int take(const struct door *door);
#define WAY(kind, name, give, setting)          int give(const struct way *way);
#define BEFORE(kind, prepare)                   int prepare(void);
#include "doors.def"

#endif
