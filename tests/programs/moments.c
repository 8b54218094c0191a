/* moments.c -- makes CUDA calls at the moments that an interposer forgets: in a constructor that runs before the
 * preloaded library's own, after fork, after vfork and exec, and at exit.  -DEARLY is the library with that
 * constructor, which is linked with the driver like the program. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int cuInit(unsigned flags);

/* The call by linkage, and the call of what a lookup finds. */
static void call(const char *moment)
{
    void *driver = dlopen("libcuda.so.1", RTLD_LAZY);
    int (*found)(unsigned) = driver ? (int (*)(unsigned))dlsym(driver, "cuInit") : NULL;
    Dl_info info = {0};
    char line[512];

    if (found)
        dladdr((void *)found, &info);
    snprintf(line, sizeof line, "%s: %d %d %s\n", moment, cuInit(0), found ? found(0) : -1, info.dli_fname);
    if (write(STDOUT_FILENO, line, strlen(line)) < 0)
        _exit(9);
}

#ifdef EARLY
__attribute__((constructor)) static void early(void)
{
    call("constructor");
}
#else
static void at_end(void)
{
    call("exit");
}

int main(int argc, char **argv)
{
    pid_t child;

    if (argc > 1) {
        call(argv[1]);
        return 0;
    }
    atexit(at_end);
    child = fork();
    if (child == 0) {
        call("fork before the first call");
        _exit(0);
    }
    waitpid(child, NULL, 0);
    call("main");
    child = fork();
    if (child == 0) {
        call("fork");
        _exit(0);
    }
    waitpid(child, NULL, 0);
    child = vfork();
    if (child == 0) {
        execl(argv[0], argv[0], "vfork and exec", NULL);
        _exit(9);
    }
    waitpid(child, NULL, 0);
    return 0;
}
#endif
