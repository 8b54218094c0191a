"""The CUDA driver by cffi: the few calls that the benchmarks make, each checked, with units in the names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cffi import FFI

SPIN_PTX = Path(__file__).with_name("spin.ptx")

SUCCESS = 0
OUT_OF_MEMORY = 2
NOT_READY = 600

_STREAM_NON_BLOCKING = 1
_EVENT_DEFAULT, _EVENT_DISABLE_TIMING = 0, 2
_CAPTURE_THREAD_LOCAL = 1
_PINNED, _ON_DEVICE = 1, 1
POOL_RESERVED = 5
"""CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT."""

ffi = FFI()
ffi.cdef(
    """
    typedef int CUresult;
    typedef int CUdevice;
    typedef unsigned long long CUdeviceptr;
    typedef struct CUctx_st *CUcontext;
    typedef struct CUmod_st *CUmodule;
    typedef struct CUfunc_st *CUfunction;
    typedef struct CUstream_st *CUstream;
    typedef struct CUevent_st *CUevent;
    typedef struct CUgraph_st *CUgraph;
    typedef struct CUgraphExec_st *CUgraphExec;
    typedef struct CUmemPoolHandle_st *CUmemoryPool;
    typedef struct { char bytes[16]; } CUuuid;
    typedef struct {
        int allocType, handleTypes;
        struct { int type, id; } location;
        void *win32SecurityAttributes;
        size_t maxSize;
        unsigned short usage;
        unsigned char reserved[54];
    } CUmemPoolProps;

    CUresult cuInit(unsigned int flags);
    CUresult cuDriverGetVersion(int *version);
    CUresult cuGetErrorName(CUresult error, const char **name);
    CUresult cuDeviceGetCount(int *count);
    CUresult cuDeviceGet(CUdevice *device, int ordinal);
    CUresult cuDeviceGetName(char *name, int length, CUdevice device);
    CUresult cuDeviceGetUuid_v2(CUuuid *uuid, CUdevice device);
    CUresult cuDeviceGetAttribute(int *value, int attribute, CUdevice device);
    CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice device);
    CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device);
    CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device);
    CUresult cuCtxSetCurrent(CUcontext context);
    CUresult cuCtxGetDevice(CUdevice *device);
    CUresult cuCtxSynchronize(void);
    CUresult cuMemGetInfo_v2(size_t *free, size_t *total);
    CUresult cuMemAlloc_v2(CUdeviceptr *pointer, size_t bytes);
    CUresult cuMemFree_v2(CUdeviceptr pointer);
    CUresult cuMemsetD8_v2(CUdeviceptr pointer, unsigned char value, size_t bytes);
    CUresult cuMemcpyDtoH_v2(void *host, CUdeviceptr device, size_t bytes);
    CUresult cuMemPoolCreate(CUmemoryPool *pool, const CUmemPoolProps *props);
    CUresult cuMemPoolGetAttribute(CUmemoryPool pool, int attribute, void *value);
    CUresult cuMemAllocFromPoolAsync(CUdeviceptr *pointer, size_t bytes, CUmemoryPool pool, CUstream stream);
    CUresult cuModuleLoadData(CUmodule *module, const void *image);
    CUresult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name);
    CUresult cuLaunchKernel(CUfunction function,
                            unsigned int grid_x, unsigned int grid_y, unsigned int grid_z,
                            unsigned int block_x, unsigned int block_y, unsigned int block_z,
                            unsigned int shared_bytes, CUstream stream, void **params, void **extra);
    CUresult cuStreamCreate(CUstream *stream, unsigned int flags);
    CUresult cuStreamSynchronize(CUstream stream);
    CUresult cuStreamBeginCapture_v2(CUstream stream, int mode);
    CUresult cuStreamEndCapture(CUstream stream, CUgraph *graph);
    CUresult cuGraphInstantiateWithFlags(CUgraphExec *exec, CUgraph graph, unsigned long long flags);
    CUresult cuGraphLaunch(CUgraphExec exec, CUstream stream);
    CUresult cuGraphDestroy(CUgraph graph);
    CUresult cuEventCreate(CUevent *event, unsigned int flags);
    CUresult cuEventRecord(CUevent event, CUstream stream);
    CUresult cuEventQuery(CUevent event);
    CUresult cuEventSynchronize(CUevent event);
    CUresult cuEventElapsedTime(float *milliseconds, CUevent start, CUevent end);
    CUresult cuEventDestroy_v2(CUevent event);
    """
)


class CudaError(Exception):
    """A driver call that did not return CUDA_SUCCESS."""

    def __init__(self, call: str, code: int, name: str) -> None:
        super().__init__(f"{call}: {name} ({code})")
        self.call = call
        self.code = code
        self.name = name


class NoDriver(Exception):
    """There is no libcuda.so.1 to load."""


class Driver:
    """libcuda.so.1, initialised; `call("cuMemFree_v2", p)` raises CudaError if the driver does not agree."""

    def __init__(self, library: str = "libcuda.so.1") -> None:
        try:
            # A driver has threads of its own: once loaded it must stay, also while Python ends.
            self.library: Any = ffi.dlopen(library, os.RTLD_NOW | os.RTLD_NODELETE)
        except OSError as error:
            raise NoDriver(str(error)) from None
        self.call("cuInit", 0)

    def call(self, name: str, *args: Any) -> None:
        code = getattr(self.library, name)(*args)
        if code != SUCCESS:
            raise CudaError(name, code, self.error_name(code))

    def error_name(self, code: int) -> str:
        out = ffi.new("const char **")
        if self.library.cuGetErrorName(code, out) != SUCCESS or out[0] == ffi.NULL:
            return "CUDA_ERROR_UNNAMED"
        return _text(out[0])

    def address(self, name: str) -> int:
        """Where the program's own lookup of `name` leads: our hook under `gshare run`, else the driver."""
        return int(ffi.cast("uintptr_t", getattr(self.library, name)))

    @property
    def version(self) -> int:
        """As cuDriverGetVersion has it: 13000 is 13.0."""
        out = ffi.new("int *")
        self.call("cuDriverGetVersion", out)
        return int(out[0])

    @property
    def device_count(self) -> int:
        out = ffi.new("int *")
        self.call("cuDeviceGetCount", out)
        return int(out[0])


class Device:
    """One device and its primary context, current in the thread that made it."""

    def __init__(self, driver: Driver, ordinal: int = 0) -> None:
        self.driver = driver
        handle = ffi.new("CUdevice *")
        driver.call("cuDeviceGet", handle, ordinal)
        self.handle = handle[0]
        context = ffi.new("CUcontext *")
        driver.call("cuDevicePrimaryCtxRetain", context, self.handle)
        self.context = context[0]
        driver.call("cuCtxSetCurrent", self.context)

    @property
    def name(self) -> str:
        out = ffi.new("char[256]")
        self.driver.call("cuDeviceGetName", out, 256, self.handle)
        return _text(out)

    @property
    def uuid(self) -> str:
        """In NVML's spelling: GPU-xxxxxxxx-xxxx-…"""
        out = ffi.new("CUuuid *")
        self.driver.call("cuDeviceGetUuid_v2", out, self.handle)
        digits = bytes(ffi.buffer(out)).hex()
        return f"GPU-{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"

    @property
    def total_bytes(self) -> int:
        out = ffi.new("size_t *")
        self.driver.call("cuDeviceTotalMem_v2", out, self.handle)
        return int(out[0])

    def memory_info(self) -> tuple[int, int]:
        """cuMemGetInfo: (free bytes, total bytes)."""
        free, total = ffi.new("size_t *"), ffi.new("size_t *")
        self.driver.call("cuMemGetInfo_v2", free, total)
        return int(free[0]), int(total[0])

    def allocate(self, size_bytes: int) -> int:
        out = ffi.new("CUdeviceptr *")
        self.driver.call("cuMemAlloc_v2", out, size_bytes)
        return int(out[0])

    def free(self, pointer: int) -> None:
        self.driver.call("cuMemFree_v2", pointer)

    def pool(self, held_bytes: int) -> Any:
        """A memory pool of its own that an allocation keeps alive."""
        props: Any = ffi.new("CUmemPoolProps *")
        props.allocType, props.location.type, props.location.id = _PINNED, _ON_DEVICE, self.handle
        out, pointer = ffi.new("CUmemoryPool *"), ffi.new("CUdeviceptr *")
        self.driver.call("cuMemPoolCreate", out, props)
        self.driver.call("cuMemAllocFromPoolAsync", pointer, held_bytes, out[0], ffi.NULL)
        self.synchronize()
        return out[0]

    def synchronize(self) -> None:
        self.driver.call("cuCtxSynchronize")

    def release(self) -> None:
        self.driver.call("cuDevicePrimaryCtxRelease_v2", self.handle)

    def stream(self) -> Stream:
        return Stream(self.driver)

    def event(self, *, timing: bool = True) -> Event:
        return Event(self.driver, timing=timing)

    def spin(self) -> Spin:
        return Spin(self.driver)


class Stream:
    """A stream that does not wait for the default one."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        out = ffi.new("CUstream *")
        driver.call("cuStreamCreate", out, _STREAM_NON_BLOCKING)
        self.handle = out[0]

    def synchronize(self) -> None:
        self.driver.call("cuStreamSynchronize", self.handle)

    @contextmanager
    def capture(self) -> Iterator[Graph]:
        """What is launched on the stream inside the block becomes the graph, ready to launch after it."""
        graph = Graph(self)
        self.driver.call("cuStreamBeginCapture_v2", self.handle, _CAPTURE_THREAD_LOCAL)
        try:
            yield graph
        finally:
            out = ffi.new("CUgraph *")
            self.driver.call("cuStreamEndCapture", self.handle, out)
        graph.instantiate(out[0])


class Graph:
    """A graph captured from one stream."""

    def __init__(self, stream: Stream) -> None:
        self.driver = stream.driver
        self.stream = stream
        self.exec: Any = None

    def instantiate(self, graph: Any) -> None:
        out = ffi.new("CUgraphExec *")
        self.driver.call("cuGraphInstantiateWithFlags", out, graph, 0)
        self.exec = out[0]
        self.driver.call("cuGraphDestroy", graph)

    def launch(self, stream: Stream) -> None:
        self.driver.call("cuGraphLaunch", self.exec, stream.handle)


class Event:
    def __init__(self, driver: Driver, *, timing: bool = True) -> None:
        self.driver = driver
        out = ffi.new("CUevent *")
        driver.call("cuEventCreate", out, _EVENT_DEFAULT if timing else _EVENT_DISABLE_TIMING)
        self.handle = out[0]

    def record(self, stream: Stream) -> None:
        self.driver.call("cuEventRecord", self.handle, stream.handle)

    def done(self) -> bool:
        code = int(self.driver.library.cuEventQuery(self.handle))
        if code not in (SUCCESS, NOT_READY):
            raise CudaError("cuEventQuery", code, self.driver.error_name(code))
        return code == SUCCESS

    def synchronize(self) -> None:
        self.driver.call("cuEventSynchronize", self.handle)

    def elapsed_ns_since(self, start: Event) -> int:
        out = ffi.new("float *")
        self.driver.call("cuEventElapsedTime", out, start.handle, self.handle)
        return round(float(out[0]) * 1e6)

    def destroy(self) -> None:
        self.driver.call("cuEventDestroy_v2", self.handle)


class Spin:
    """The kernel of spin.ptx: one block that keeps the GPU busy for a given time of its own."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        image = ffi.new("char[]", SPIN_PTX.read_bytes())
        module = ffi.new("CUmodule *")
        driver.call("cuModuleLoadData", module, image)
        function = ffi.new("CUfunction *")
        driver.call("cuModuleGetFunction", function, module[0], b"spin")
        self.function = function[0]
        self._duration_ns = ffi.new("uint64_t *")
        self._params = ffi.new("void *[]", [self._duration_ns])

    @property
    def params(self) -> Any:
        """The `void **` of cuLaunchKernel, for loops that launch by themselves."""
        return self._params

    def set_duration(self, duration_ns: int) -> None:
        self._duration_ns[0] = duration_ns

    def launch(self, stream: Stream, duration_ns: int, blocks: int = 1) -> None:
        self._duration_ns[0] = duration_ns
        self.driver.call(
            "cuLaunchKernel", self.function, blocks, 1, 1, 32, 1, 1, 0, stream.handle, self._params, ffi.NULL
        )


def _text(pointer: Any) -> str:
    raw = ffi.string(pointer)
    return raw.decode() if isinstance(raw, bytes) else str(raw)
