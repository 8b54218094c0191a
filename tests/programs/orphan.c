/* orphan.c -- takes 300 MiB, says what it was told, leaves a child that never looks at the GPU, and is killed. */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

int cuInit(unsigned);
int cuDevicePrimaryCtxRetain(void **, int);
int cuCtxSetCurrent(void *);
int cuMemAlloc_v2(uint64_t *, size_t);

int main(void)
{
    void *context;
    uint64_t pointer;
    int code = -1;
    pid_t child;

    if (!cuInit(0) && !cuDevicePrimaryCtxRetain(&context, 0) && !cuCtxSetCurrent(context))
        code = cuMemAlloc_v2(&pointer, 300 << 20);
    child = fork();
    if (child == 0) {
        close(STDOUT_FILENO);
        close(STDERR_FILENO);
        pause();
        _exit(0);
    }
    printf("%d %d\n", code, (int)child);
    fflush(stdout);
    raise(SIGKILL);
}
