/* linked.h -- what a client library that is linked with the driver finds. */
#ifndef LINKED_H
#define LINKED_H

#define _GNU_SOURCE
#include <dlfcn.h>

void *find_linked(const char *name);
void *find_by_own_dlsym(void *handle, const char *name);

#endif
