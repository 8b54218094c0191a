/* crowd.c -- a tenant's program in a crowd: takes a context of every device, runs a kernel on each, says so, and stays
 * until its input ends. */
#include <stdint.h>
#include <unistd.h>

int cuInit(unsigned flags);
int cuDeviceGetCount(int *count);
int cuDevicePrimaryCtxRetain(void **context, int device);
int cuCtxSetCurrent(void *context);
int cuModuleLoadData(void **module, const void *image);
int cuModuleGetFunction(void **function, void *module, const char *name);
int cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                   unsigned bz, unsigned shared, void *stream, void **params, void **extra);
int cuCtxSynchronize(void);

static const char spin[] = ".version 6.0\n.target sm_50\n.address_size 64\n"
                           ".visible .entry spin(.param .u64 ns)\n{\n    ret;\n}\n";

static int use(int device)
{
    uint64_t ns = 1000000;
    void *context, *module, *function, *params[] = {&ns};

    return cuDevicePrimaryCtxRetain(&context, device) || cuCtxSetCurrent(context) ||
           cuModuleLoadData(&module, spin) || cuModuleGetFunction(&function, module, "spin") ||
           cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, 0, NULL, params, NULL) || cuCtxSynchronize();
}

int main(void)
{
    int count;
    char byte;

    if (cuInit(0) || cuDeviceGetCount(&count))
        return 1;
    for (int i = 0; i < count; i++)
        if (use(i))
            return 1;
    return write(STDOUT_FILENO, "", 1) != 1 || read(STDIN_FILENO, &byte, 1) != 0;
}
