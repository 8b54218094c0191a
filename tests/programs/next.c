/* next.c -- one link of a chain: adds its own number to what the next library in the program's search order says.
 * Compiled with -DNUMBER=…; with -DLAST it is the last. */
#define _GNU_SOURCE
#include <dlfcn.h>

int chain(void);
int chain(void)
{
#ifdef LAST
    return NUMBER;
#else
    int (*next)(void) = (int (*)(void))dlsym(RTLD_NEXT, "chain");

    return next ? NUMBER + next() : -1;
#endif
}
