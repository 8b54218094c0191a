/* real.h -- the real driver and NVML, as the lookups see them. */
#ifndef GS_REAL_H
#define GS_REAL_H

struct link_map;

enum gs_library { GS_CUDA, GS_NVML, GS_LIBRARIES };

/* Chooses the library that every function of this kind comes from in this process, once and for good, unless
 * that has been done: the one whose function the program has just found (`found`, or NULL), else the one that
 * the loader finds by its usual name.  False: there is none (yet). */
int gs_load(enum gs_library id, const struct link_map *found);

/* Whether an object is a driver, or an NVML, of any path and in any namespace. */
int gs_is_library(enum gs_library id, const struct link_map *object);

/* What a program gets for a function that it has found in `object`: the hook, or the chosen library's own. */
void *gs_replace_by_name(enum gs_library id, const struct link_map *object, const char *name, void *function,
                         const void *caller);

/* What a program gets for an address that the driver gave out: the hook, or the address unchanged. */
void *gs_replace_by_address(void *function, const void *caller);

/* The object that an address lies in, or NULL. */
const struct link_map *gs_object_of(const void *address);

#endif
