/* death.c -- a process that takes memory and ends without giving it back.
 *
 * death BYTES END: starts CUDA, allocates (0: has no context, either), writes the driver's answer as one line, and then
 * ends as told: "exit" by returning, "kill" by SIGKILL, "wait" once its standard input has ended. */
#include "cuda_types.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

CUresult cuInit(unsigned);
CUresult cuDevicePrimaryCtxRetain(CUcontext *, CUdevice);
CUresult cuCtxSetCurrent(CUcontext);
CUresult cuMemAlloc_v2(CUdeviceptr *, size_t);

static CUresult take(size_t bytes)
{
    CUdeviceptr address;
    CUcontext context;
    CUresult result = cuInit(0);

    if (result || !bytes)
        return result;
    if ((result = cuDevicePrimaryCtxRetain(&context, 0)) || (result = cuCtxSetCurrent(context)))
        return result;
    return cuMemAlloc_v2(&address, bytes);
}

int main(int argc, char **argv)
{
    char byte;

    if (argc != 3)
        return 9;
    printf("%d\n", (int)take(strtoul(argv[1], NULL, 10)));
    fflush(stdout);
    if (!strcmp(argv[2], "kill"))
        kill(getpid(), SIGKILL);
    while (!strcmp(argv[2], "wait") && read(STDIN_FILENO, &byte, 1) > 0)
        ;
    return 0;
}
