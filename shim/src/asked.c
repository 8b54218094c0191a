/* asked.c -- the tenant that the program was started as: programs clear their environment, or write over it, before they
 * use the GPU. */
#include <stdio.h>
#include <stdlib.h>

#include "asked.h"

static char at_start[4096];

static const char *named_now(void)
{
    const char *named = getenv("GSHARE_TENANT_DIR");

    return named && *named ? named : NULL;
}

__attribute__((constructor)) static void note(void)
{
    const char *named = named_now();

    if (named) /* one that does not fit is too long for anything: region.c says so */
        snprintf(at_start, sizeof at_start, "%s", named);
}

const char *gs_tenant_named(void)
{
    return at_start[0] ? at_start : named_now();
}
