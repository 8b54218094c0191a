/* asked.h -- the tenant that the program was started as. */
#ifndef GS_ASKED_H
#define GS_ASKED_H

/* Its directory; NULL: the environment names none. */
const char *gs_tenant_named(void);

#endif
