/* asked.c -- what the program was started with: programs clear their environment, or write over it, before they use the
 * GPU. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "asked.h"

static struct {
    const char *variable;
    char at_start[PATH_MAX + 1]; /* one that is longer stays too long, and whoever opens it says so */
} asked[GS_ASKED_COUNT] = {
    [GS_ASKED_TENANT] = {"GSHARE_TENANT_DIR", ""},
    [GS_ASKED_TRACE] = {"GSHARE_TRACE_MEMORY", ""},
};

static const char *now(enum gs_asked what)
{
    const char *path = getenv(asked[what].variable);

    return path && *path ? path : NULL;
}

__attribute__((constructor)) static void note(void)
{
    for (int i = 0; i < GS_ASKED_COUNT; i++) {
        const char *path = now(i);
        if (path)
            snprintf(asked[i].at_start, sizeof asked[i].at_start, "%s", path);
    }
}

const char *gs_asked(enum gs_asked what)
{
    return asked[what].at_start[0] ? asked[what].at_start : now(what);
}
