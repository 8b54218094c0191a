/* init.c -- cuInit: the one place where limits that cannot be applied stop a program. */
#include "hooks.h"
#include "region.h"

GSHARE_HOOK(cuInit, (unsigned int Flags))
{
    CUresult refused = gs_region_check();

    return refused ? refused : REAL(cuInit)(Flags);
}
