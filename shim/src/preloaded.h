/* preloaded.h -- whether a file of the system's, and not the environment, had us loaded. */
#ifndef GS_PRELOADED_H
#define GS_PRELOADED_H

/* Whether /etc/ld.so.preload names us.  Whoever wrote that wants no program to run without a tenant, and an
 * environment, which anybody may set, is no word of theirs. */
int gs_preloaded_by_file(void);

/* Whether what lies in a tenant's directory is root's: then an environment that names it is believed. */
int gs_is_roots(const char *directory);

#endif
