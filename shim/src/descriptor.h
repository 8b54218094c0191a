/* descriptor.h -- whether a descriptor that stands for memory is still open, in this process or any other. */
#ifndef GS_DESCRIPTOR_H
#define GS_DESCRIPTOR_H

#include <stdint.h>

/* The open files that stand for one allocation.  All zeroes: none. */
struct gs_mark {
    uint64_t first; /* byte of the first one */
    uint32_t count;
    uint32_t probe; /* how to look, plus 1 */
};

/* One more open file.  Where it cannot be marked, nothing keeps the memory that we could see. */
void gs_mark_put(struct gs_mark *mark, int fd);

/* Is any of them open, anywhere? */
int gs_mark_seen(const struct gs_mark *mark);

/* Is `fd` one of them, or a copy of one? */
int gs_mark_on(const struct gs_mark *mark, int fd);

void gs_mark_clear(struct gs_mark *mark);

/* A descriptor of our own for an open file, which keeps others' marks on it.  The program may close anything: so
 * it is closed only while it is what it was. */
struct gs_copy {
    uint64_t inode; /* 0: none */
    uint64_t device;
    int fd;
};

struct gs_copy gs_copy_of(int fd);
void gs_copy_close(struct gs_copy *copy);

void gs_descriptor_forget(void); /* in a fork's child */

#endif
