// runtime.cu -- what the common CUDA samples do, by the runtime API: one check a line, 0 at the end when all held.
#include <cuda_runtime.h>

#include <cstdio>
#include <cstring>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

__device__ int device_word = 7;
__constant__ float coefficients[16];
__managed__ int managed_word = 5;

extern "C" __global__ void spin(unsigned long long nanoseconds) {}
__global__ void scale(float *data, float by, int count)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count)
        data[i] *= by;
}
template <typename T> __global__ void typed(T *data)
{
    data[0] = T(1);
}

static int failures;
#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            failures++;                                                                            \
            printf("FAILED line %d: %s (last error %s)\n", __LINE__, #condition,                   \
                   cudaGetErrorName(cudaPeekAtLastError()));                                       \
        }                                                                                          \
    } while (0)
#define OK(call) CHECK((call) == cudaSuccess)

static void devices()
{
    cudaDeviceProp p;
    int count = 0, device = -1, value = 0, version = 0;
    OK(cudaGetDeviceCount(&count));
    CHECK(count == 2);
    OK(cudaGetDeviceProperties(&p, 0));
    CHECK(strstr(p.name, "H200") && p.major == 9 && p.multiProcessorCount == 132 && p.warpSize == 32);
    CHECK(p.totalGlobalMem > (100ull << 30) && p.maxGridSize[0] == 2147483647 && p.sharedMemPerBlockOptin > 49152);
    OK(cudaDeviceGetAttribute(&value, cudaDevAttrMultiProcessorCount, 0));
    CHECK(value == p.multiProcessorCount);
    CHECK(cudaGetDeviceProperties(&p, 2) == cudaErrorInvalidDevice);
    CHECK(cudaSetDevice(5) == cudaErrorInvalidDevice);
    CHECK(cudaGetLastError() == cudaErrorInvalidDevice && cudaGetLastError() == cudaSuccess);
    OK(cudaSetDevice(1));
    OK(cudaGetDevice(&device));
    CHECK(device == 1);
    std::thread([] {
        int other = -1;
        OK(cudaGetDevice(&other));
        CHECK(other == 0);
    }).join();
    OK(cudaSetDevice(0));
    OK(cudaRuntimeGetVersion(&version));
    CHECK(version == CUDART_VERSION);
    OK(cudaDriverGetVersion(&version));
    CHECK(version >= 13000);
    char id[32];
    OK(cudaDeviceGetPCIBusId(id, sizeof id, 1));
    OK(cudaDeviceGetByPCIBusId(&device, id));
    CHECK(device == 1);
    CHECK(!strcmp(cudaGetErrorName(cudaErrorMemoryAllocation), "cudaErrorMemoryAllocation"));
    CHECK(strlen(cudaGetErrorString(cudaErrorMemoryAllocation)) > 5);
}

static void memory()
{
    float host[256], back[256] = {0}, *device = nullptr, *pinned = nullptr, *mapped = nullptr;
    size_t before, after, total, pitch, size;
    for (int i = 0; i < 256; i++)
        host[i] = float(i);
    OK(cudaMemGetInfo(&before, &total));
    OK(cudaMalloc(&device, 64 << 20));
    OK(cudaMemGetInfo(&after, &total));
    CHECK(before - after == 64 << 20);
    OK(cudaMemcpy(device, host, sizeof host, cudaMemcpyHostToDevice));
    OK(cudaMemcpy(device + 1024, device, sizeof host, cudaMemcpyDeviceToDevice));
    OK(cudaMemcpy(back, device + 1024, sizeof host, cudaMemcpyDefault));
    CHECK(!memcmp(host, back, sizeof host));
    OK(cudaMemset(device, 0, sizeof host));
    OK(cudaMemcpy(back, device, sizeof host, cudaMemcpyDeviceToHost));
    CHECK(back[255] == 0);
    CHECK(cudaMemcpy(back, device, 4, (cudaMemcpyKind)9) == cudaErrorInvalidMemcpyDirection);
    cudaPointerAttributes what;
    OK(cudaPointerGetAttributes(&what, device));
    CHECK(what.type == cudaMemoryTypeDevice && what.device == 0 && what.devicePointer == device);
    OK(cudaPointerGetAttributes(&what, host));
    CHECK(what.type == cudaMemoryTypeUnregistered && what.hostPointer == host);
    OK(cudaFree(device));
    OK(cudaFree(nullptr));
    OK(cudaMalloc(&device, 0));
    CHECK(device == nullptr);
    CHECK(cudaMalloc(&device, size_t(1) << 50) == cudaErrorMemoryAllocation);
    cudaGetLastError();

    char *rows = nullptr, page[3 * 100], again[3 * 100] = {0};
    OK(cudaMallocPitch(&rows, &pitch, 100, 3));
    CHECK(pitch == 512);
    memset(page, 'x', sizeof page);
    OK(cudaMemcpy2D(rows, pitch, page, 100, 100, 3, cudaMemcpyHostToDevice));
    OK(cudaMemcpy2D(again, 100, rows, pitch, 100, 3, cudaMemcpyDeviceToHost));
    CHECK(!memcmp(page, again, sizeof page));
    CHECK(cudaMemcpy2D(again, 50, rows, pitch, 100, 3, cudaMemcpyDeviceToHost) == cudaErrorInvalidPitchValue);
    OK(cudaMemset2D(rows, pitch, 'y', 100, 2));
    OK(cudaMemcpy2D(again, 100, rows, pitch, 100, 3, cudaMemcpyDeviceToHost));
    CHECK(again[0] == 'y' && again[199] == 'y' && again[200] == 'x');
    OK(cudaFree(rows));

    cudaPitchedPtr box;
    OK(cudaMalloc3D(&box, make_cudaExtent(64, 4, 2)));
    OK(cudaMemset3D(box, 3, make_cudaExtent(64, 4, 2)));
    char flat[64 * 4 * 2] = {0};
    cudaMemcpy3DParms copy = {};
    copy.srcPtr = box;
    copy.dstPtr = make_cudaPitchedPtr(flat, 64, 64, 4);
    copy.extent = make_cudaExtent(64, 4, 2);
    copy.kind = cudaMemcpyDeviceToHost;
    OK(cudaMemcpy3D(&copy));
    CHECK(flat[0] == 3 && flat[sizeof flat - 1] == 3);
    OK(cudaFree(box.ptr));

    OK(cudaMallocHost(&pinned, 4096));
    OK(cudaHostGetDevicePointer(&mapped, pinned, 0));
    OK(cudaFreeHost(pinned));
    static char registered[8192] __attribute__((aligned(4096)));
    OK(cudaHostRegister(registered, sizeof registered, cudaHostRegisterDefault));
    OK(cudaHostUnregister(registered));
    OK(cudaMallocManaged(&device, 1 << 20));
    device[3] = 4;
    OK(cudaMemPrefetchAsync(device, 1 << 20, {cudaMemLocationTypeDevice, 0}, 0, nullptr));
    OK(cudaDeviceSynchronize());
    CHECK(device[3] == 4);
    OK(cudaFree(device));

    int word = 0;
    void *address = nullptr;
    OK(cudaGetSymbolAddress(&address, device_word));
    OK(cudaGetSymbolSize(&size, coefficients));
    CHECK(address && size == sizeof coefficients);
    OK(cudaMemcpyFromSymbol(&word, device_word, sizeof word));
    CHECK(word == 7);
    word = 9;
    OK(cudaMemcpyToSymbol(device_word, &word, sizeof word));
    OK(cudaMemcpy(&word, address, sizeof word, cudaMemcpyDeviceToHost));
    CHECK(word == 9);
    CHECK(cudaMemcpyToSymbol(coefficients, host, sizeof coefficients + 1) == cudaErrorInvalidValue);
    CHECK(cudaGetSymbolAddress(&address, host[0]) == cudaErrorInvalidSymbol);
    CHECK(managed_word == 5);
    cudaGetLastError();
}

static void streams_and_launches()
{
    cudaStream_t stream, other;
    cudaEvent_t start, end;
    float ms = 0, *data;
    int low, high;
    OK(cudaStreamCreate(&stream));
    OK(cudaDeviceGetStreamPriorityRange(&low, &high));
    OK(cudaStreamCreateWithPriority(&other, cudaStreamNonBlocking, high));
    OK(cudaEventCreate(&start));
    OK(cudaEventCreate(&end));
    OK(cudaEventRecord(start, stream));
    spin<<<1, 1, 0, stream>>>(5000000);
    OK(cudaGetLastError());
    OK(cudaEventRecord(end, stream));
    CHECK(cudaEventQuery(end) == cudaErrorNotReady);
    cudaGetLastError();
    OK(cudaStreamWaitEvent(other, end, 0));
    OK(cudaStreamSynchronize(other));
    OK(cudaEventQuery(end));
    OK(cudaEventElapsedTime(&ms, start, end));
    CHECK(ms > 4.99f && ms < 5.2f);
    OK(cudaMalloc(&data, 4096));
    scale<<<4, 256>>>(data, 2.0f, 1024);
    typed<double><<<1, 32, 0, other>>>((double *)data);
    OK(cudaGetLastError());
    OK(cudaDeviceSynchronize());
    scale<<<1, 2048>>>(data, 2.0f, 1024);
    CHECK(cudaGetLastError() == cudaErrorInvalidConfiguration);
    scale<<<0, 32>>>(data, 2.0f, 1024);
    CHECK(cudaGetLastError() == cudaErrorInvalidConfiguration);
    CHECK(cudaLaunchKernel((const void *)puts, 1, 1, nullptr, 0, nullptr) ==
          cudaErrorInvalidDeviceFunction);
    cudaGetLastError();
    cudaLaunchConfig_t config = {};
    config.gridDim = 2;
    config.blockDim = 64;
    config.stream = stream;
    OK(cudaLaunchKernelEx(&config, scale, data, 3.0f, 64));
    void *arguments[] = {&data};
    OK(cudaLaunchCooperativeKernel(typed<int>, dim3(1), dim3(32), arguments, 0, stream));
    static int called;
    OK(cudaLaunchHostFunc(stream, [](void *word) { *(int *)word = 1; }, &called));
    OK(cudaStreamSynchronize(stream));
    CHECK(called == 1);

    int blocks = 0, grid = 0, block = 0;
    cudaFuncAttributes attributes;
    OK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, scale, 256, 0));
    CHECK(blocks == 8);
    OK(cudaOccupancyMaxPotentialBlockSize(&grid, &block, scale));
    CHECK(block >= 32 && grid >= 132);
    OK(cudaFuncGetAttributes(&attributes, scale));
    CHECK(attributes.maxThreadsPerBlock == 1024 && attributes.numRegs > 0);
    OK(cudaFuncSetAttribute(scale, cudaFuncAttributeMaxDynamicSharedMemorySize, 65536));

    OK(cudaMallocAsync(&data, 1 << 20, stream));
    OK(cudaMemsetAsync(data, 0, 1 << 20, stream));
    OK(cudaFreeAsync(data, stream));
    cudaMemPool_t pool;
    unsigned long long reserved = 0;
    OK(cudaStreamSynchronize(stream));
    OK(cudaDeviceGetDefaultMemPool(&pool, 0));
    OK(cudaMemPoolTrimTo(pool, 0));
    OK(cudaMemPoolGetAttribute(pool, cudaMemPoolAttrReservedMemCurrent, &reserved));
    CHECK(reserved == 0);
    OK(cudaEventDestroy(start));
    OK(cudaStreamDestroy(stream));
}

static void graphs()
{
    cudaStream_t stream;
    cudaGraph_t graph, built;
    cudaGraphExec_t exec;
    cudaGraphNode_t first, second, third;
    size_t count = 0;
    int *data, host = 0, value = 41;
    OK(cudaStreamCreate(&stream));
    OK(cudaMalloc(&data, 4096));
    OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    OK(cudaMemcpyAsync(data, &value, sizeof value, cudaMemcpyHostToDevice, stream));
    spin<<<1, 1, 0, stream>>>(1000);
    OK(cudaMemcpyAsync(&host, data, sizeof host, cudaMemcpyDeviceToHost, stream));
    cudaStreamCaptureStatus status;
    OK(cudaStreamIsCapturing(stream, &status));
    CHECK(status == cudaStreamCaptureStatusActive);
    OK(cudaStreamEndCapture(stream, &graph));
    OK(cudaGraphGetNodes(graph, nullptr, &count));
    CHECK(count == 3);
    OK(cudaGraphInstantiate(&exec, graph, 0));
    OK(cudaGraphLaunch(exec, stream));
    OK(cudaStreamSynchronize(stream));
    CHECK(host == 41);
    OK(cudaGraphExecDestroy(exec));

    unsigned long long nanoseconds = 2000;
    void *arguments[] = {&nanoseconds};
    cudaKernelNodeParams kernel = {};
    kernel.func = (void *)spin;
    kernel.gridDim = 1;
    kernel.blockDim = 1;
    kernel.kernelParams = arguments;
    cudaMemsetParams fill = {};
    fill.dst = data;
    fill.value = 1;
    fill.elementSize = 4;
    fill.width = 8;
    fill.height = 1;
    OK(cudaGraphCreate(&built, 0));
    OK(cudaGraphAddKernelNode(&first, built, nullptr, 0, &kernel));
    OK(cudaGraphAddMemsetNode(&second, built, &first, 1, &fill));
    OK(cudaGraphAddMemcpyNode1D(&third, built, &second, 1, &host, data, 4, cudaMemcpyDeviceToHost));
    OK(cudaGraphInstantiate(&exec, built, 0));
    OK(cudaGraphLaunch(exec, stream));
    OK(cudaStreamSynchronize(stream));
    CHECK(host == 1);
    fill.value = 2;
    OK(cudaGraphExecMemsetNodeSetParams(exec, second, &fill));
    OK(cudaGraphLaunch(exec, stream));
    OK(cudaStreamSynchronize(stream));
    CHECK(host == 2);
    OK(cudaGraphExecDestroy(exec));
    OK(cudaGraphDestroy(built));
    OK(cudaGraphDestroy(graph));
}

static void processes()
{
    int pipes[2], status = 0, value = 77;
    cudaIpcMemHandle_t handle;
    int *data;
    CHECK(pipe(pipes) == 0);
    pid_t child = fork(); // before the parent's first call
    if (child == 0) {
        int got = 0;
        bool good = read(pipes[0], &handle, sizeof handle) == sizeof handle;
        good = good && cudaIpcOpenMemHandle((void **)&data, handle, cudaIpcMemLazyEnablePeerAccess) == cudaSuccess;
        good = good && cudaMemcpy(&got, data, 4, cudaMemcpyDeviceToHost) == cudaSuccess && got == 77;
        good = good && cudaIpcCloseMemHandle(data) == cudaSuccess;
        _exit(good ? 0 : 1);
    }
    OK(cudaMalloc(&data, 1 << 21));
    OK(cudaMemcpy(data, &value, 4, cudaMemcpyHostToDevice));
    OK(cudaIpcGetMemHandle(&handle, data));
    CHECK(write(pipes[1], &handle, sizeof handle) == sizeof handle);
    waitpid(child, &status, 0);
    CHECK(status == 0);
}

int main(int argc, char **)
{
    if (argc > 1)
        processes();
    devices();
    memory();
    streams_and_launches();
    graphs();
    OK(cudaDeviceReset());
    printf("%d failures\n", failures);
    return failures != 0;
}
