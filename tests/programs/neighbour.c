/* neighbour.c -- another preloaded library: it hooks cuInit and cuLaunchKernel, says so on stderr, and goes on to the
 * function that comes next.  It finds that by RTLD_NEXT, or -DBY_HANDLE in the driver, or -DBY_LOOKUP by asking the
 * driver.  With -DHOOKS_LOOKUP it also answers cuGetProcAddress_v2 with its own functions. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <string.h>
#include <unistd.h>

typedef int function(long, long, long, long, long, long, long, long, long, long, long);

#if defined BY_LOOKUP || defined HOOKS_LOOKUP
__attribute__((weak)) int cuGetProcAddress_v2(const char *, void **, int, unsigned long long, int *);
#endif

static function *next(const char *name)
{
    void *found = NULL;

#if defined BY_LOOKUP
    cuGetProcAddress_v2(name, &found, 13000, 0, NULL);
#elif defined BY_HANDLE
    found = dlsym(dlopen("libcuda.so.1", RTLD_LAZY), name);
#else
    found = dlsym(RTLD_NEXT, name);
#endif
    return (function *)found;
}

#ifdef HOOKS_LOOKUP
typedef int lookup(const char *name, void **function, int version, unsigned long long flags, int *status);

int cuLaunchKernel(long, long, long, long, long, long, long, long, long, long, long);

int cuGetProcAddress_v2(const char *name, void **function, int version, unsigned long long flags, int *status)
{
    int result = ((lookup *)dlsym(RTLD_NEXT, "cuGetProcAddress_v2"))(name, function, version, flags, status);

    if (strcmp(name, "cuLaunchKernel") == 0)
        *function = (void *)cuLaunchKernel;
    return result;
}
#endif

int cuInit(long flags);
int cuInit(long flags)
{
    if (write(2, "neighbour: cuInit\n", 18) < 0)
        return 999;
    return next("cuInit")(flags, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
}

int cuLaunchKernel(long a, long b, long c, long d, long e, long f, long g, long h, long i, long j, long k);
int cuLaunchKernel(long a, long b, long c, long d, long e, long f, long g, long h, long i, long j, long k)
{
    if (write(2, "neighbour: cuLaunchKernel\n", 26) < 0)
        return 999;
    return next("cuLaunchKernel")(a, b, c, d, e, f, g, h, i, j, k);
}
