/* semantics.c -- says what dlsym, dlvsym, dlopen and dlerror answer in the cases that an interposer spoils first. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>

int chain(void);

static void print_error(const char *what)
{
    const char *error = dlerror();

    printf("error of %s: %s\n", what, error ? error : "none");
    printf("asked again: %s\n", dlerror() ? "an error" : "none");
}

static const char *found(const void *pointer)
{
    return pointer ? "found" : "missing";
}

int main(int argc, char **argv)
{
    void *self = dlopen(NULL, RTLD_LAZY);
    int *(*errno_location)(void);

    printf("chain of RTLD_NEXT: %d\n", chain());
    printf("RTLD_NEXT: %s, again %s\n", found(dlsym(RTLD_NEXT, "malloc")), found(dlsym(RTLD_NEXT, "malloc")));
    printf("RTLD_DEFAULT: %s\n", found(dlsym(RTLD_DEFAULT, "chain")));
    printf("handle: %s\n", found(dlsym(self, "chain")));
    errno_location = (int *(*)(void))dlsym(self, "__errno_location");
    printf("errno: %s\n", errno_location && errno_location() ? "found" : "missing");
    printf("no error pending: %s\n", found(dlerror()));

    for (int i = 0; i < 4; i++) {
        static const char *const names[] = {"noSuchFunction", "cuNoSuchFunction", "nvmlNoSuchFunction",
                                            "dlNoSuch"};

        dlsym(i < 2 ? self : RTLD_DEFAULT, names[i]);
        print_error(names[i]);
    }
    printf("version: %s\n", found(dlvsym(RTLD_DEFAULT, "realpath", "GLIBC_2.3")));
    printf("wrong version: %s\n", found(dlvsym(self, "realpath", "GLIBC_9.9")));
    print_error("that");
    printf("dlopen by RUNPATH: %s\n", argc > 1 ? found(dlopen(argv[1], RTLD_LAZY)) : "-");
    printf("dlopen of nothing: %s\n", found(dlopen("libno-such-thing.so.9", RTLD_LAZY)));
    print_error("that");
    return 0;
}
