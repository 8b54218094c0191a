/* asked.h -- what the program was started with. */
#ifndef GS_ASKED_H
#define GS_ASKED_H

enum gs_asked { GS_ASKED_TENANT, GS_ASKED_TRACE, GS_ASKED_COUNT };

/* The path that the environment had at the start, or else has now; NULL: none. */
const char *gs_asked(enum gs_asked what);

#endif
