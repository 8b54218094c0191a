/* somebody.c -- a program of any user's: takes memory, says what it was told, and whether it kept anything open; then
 * its child does the same.  Each line: what cuInit said, the uid, two allocations (64 MiB, 4 GiB), what is open. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int cuInit(unsigned);
int cuDevicePrimaryCtxRetain(void **, int);
int cuCtxSetCurrent(void *);
int cuMemAlloc_v2(uint64_t *, size_t);

static int take(size_t mib)
{
    uint64_t pointer;

    return cuMemAlloc_v2(&pointer, mib << 20);
}

/* Descriptors of what was handed over, and of sockets. */
static int left_open(void)
{
    DIR *folder = opendir("/proc/self/fd");
    struct dirent *entry;
    char name[64], target[256];
    int count = 0;

    while (folder && (entry = readdir(folder))) {
        ssize_t length;

        snprintf(name, sizeof name, "/proc/self/fd/%.20s", entry->d_name);
        length = readlink(name, target, sizeof target - 1);
        target[length < 0 ? 0 : length] = '\0';
        count += strstr(target, "memfd:gshare") || strstr(target, "socket:");
    }
    if (folder)
        closedir(folder);
    return count;
}

static void run(void)
{
    int code = cuInit(0);
    void *context;
    int first = -1, second = -1;

    if (!code && !cuDevicePrimaryCtxRetain(&context, 0) && !cuCtxSetCurrent(context)) {
        first = take(64);
        second = take(4096);
    }
    printf("%d %d %d %d %d\n", code, (int)getuid(), first, second, left_open());
    fflush(stdout);
}

int main(void)
{
    pid_t child = fork(); /* before anything is looked at: both find it for themselves */

    if (child == 0) {
        run();
        _exit(0);
    }
    waitpid(child, NULL, 0);
    run();
    child = fork(); /* who has a slot has a child that has none */
    if (child == 0) {
        printf("%d\n", left_open());
        fflush(stdout);
        _exit(0);
    }
    waitpid(child, NULL, 0);
    return 0;
}
