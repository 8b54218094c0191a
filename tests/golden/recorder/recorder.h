/* recorder.h -- rows of a recording, and how a group of calls writes them.
 *
 * CALL calls the driver and writes a row: the function, in what case, and what it returned.  VALUE and TEXT add what
 * came back to the row just written, when the call succeeded; DEVICE_VALUE says that it depends on the model of GPU.
 * DO calls and writes nothing.  Values are such that the same driver on the same GPU gives them again: sizes, flags,
 * differences, never addresses or ids.  A group begins in a process of its own, before which no CUDA call was made. */
#ifndef RECORDER_H
#define RECORDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint64_t word; /* every argument goes in a register or a stack slot of its own, whatever its type */

#define ROW_ABSENT (-1) /* the driver exports no such function */
#define ROW_HANGS  (-2)
#define ROW_OPEN   (-3) /* called and not come back yet */
#define ROW_SIGNAL (-1000)

#define MAX_VALUES   4
#define MAX_ROWS     4096
#define MAX_RESTARTS 12

struct row {
    const char *group, *function;
    char what[72];
    int32_t code;
    uint32_t values;
    struct value {
        char name[28];
        char text[68];
        int64_t number;
        uint8_t is_text, of_device;
    } value[MAX_VALUES];
};

/* Shared with the process that makes the calls, so that a crash there loses nothing. */
struct book {
    uint32_t count;
    uint32_t first;   /* row of the group under way */
    uint32_t deepest; /* how far any attempt at this group came */
    struct row row[MAX_ROWS];
};

extern struct book *book;

struct group {
    const char *name;
    void (*run)(void);
    bool bare; /* begins without cuInit and without a context */
};

extern const struct group groups[];
extern const unsigned group_count;

/* How a group came to its end: "done", or what stopped its last attempt. */
struct ending {
    char how[48];
    uint32_t rows, restarts;
};

/* `limit_s` for each attempt, and none begins after `until_ns`. */
void run_group(const struct group *group, double limit_s, uint64_t until_ns, struct ending *ending);
/* In a process of its own, with all that it starts; false when the time was over. */
bool run_limited(void (*run)(const void *), const void *argument, double limit_s, int *status);

/* Call `function` by its exported name; the twelve words beyond the last argument are zero. */
int driver_call(const char *function, unsigned count, const word *args);
int row_call(const char *function, const char *what, unsigned count, const word *args);
void row_begin(const char *function, const char *what);
void row_end(int code);
void row_value(const char *name, int64_t number, bool of_device);
void row_text(const char *name, const char *text, bool of_device);
void *driver_symbol(const char *function);
const char *text_of(const char *format, ...) __attribute__((format(printf, 1, 2)));

#define ARGS(...)                                                                                            \
    (const word[])                                                                                           \
    {                                                                                                        \
        0, ##__VA_ARGS__                                                                                     \
    }
#define COUNT(...)                (sizeof(ARGS(__VA_ARGS__)) / sizeof(word) - 1)
#define CALL(function, what, ...) row_call(#function, what, COUNT(__VA_ARGS__), ARGS(__VA_ARGS__) + 1)
#define DO(function, ...)         driver_call(#function, COUNT(__VA_ARGS__), ARGS(__VA_ARGS__) + 1)
#define VALUE(name, number)       row_value(name, (int64_t)(number), false)
#define DEVICE_VALUE(name, value) row_value(name, (int64_t)(value), true)
#define TEXT(name, text)          row_text(name, text, false)
#define A(variable)               ((word)(uintptr_t) & (variable))
#define P(pointer)                ((word)(uintptr_t)(pointer))

/* work.c: what many groups need. */
int begin_context(void);  /* cuInit, and the primary context of device 0 current */
word spin_function(void); /* kernels.h; loaded at the first use */
word kernel_named(const char *name);
int spin(uint64_t ns, word stream); /* keeps the GPU busy for so long */
word new_stream(unsigned flags);
word new_event(unsigned flags);
uint64_t free_bytes(void);
/* As the accounts of a GPU go, in whole steps of 2 MiB. */
int64_t in_steps(int64_t bytes);
void pause_ms(unsigned ms);
uint64_t now_ns(void);

#endif
