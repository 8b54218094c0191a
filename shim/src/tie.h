/* tie.h -- lists of ties: what a keeper of physical memory keeps, and in which part of itself.
 *
 * A list is the number of its first tie, 0 where there is none.  physical.c's lock is held around all of these. */
#ifndef GS_TIE_H
#define GS_TIE_H

#include "part.h"

struct gs_tie {
    struct gs_part part;
    uint32_t kept; /* the number of a record */
    uint32_t next;
};

/* False: no memory. */
int gs_tie_add(uint32_t *list, uint32_t kept, const struct gs_part *part);

/* Takes the first one off the list; 0: it is empty.  Then it is put into another one, or freed. */
uint32_t gs_tie_take(uint32_t *list);
void gs_tie_put(uint32_t *list, uint32_t tie);
uint32_t gs_tie_free(uint32_t tie); /* returns what it has kept */

struct gs_tie gs_tie_read(uint32_t tie);

void gs_ties_forget(void); /* in a fork's child */

#endif
