# What tenants tell each other.  Part of abi.pyx.

cdef extern from "<sys/mman.h>" nogil:
    const int PROT_NONE, PROT_READ, PROT_WRITE, MAP_PRIVATE, MAP_ANONYMOUS, MAP_SHARED, MAP_FIXED
    void *MAP_FAILED
    void *map_memory "mmap"(void *at, size_t bytes, int protection, int flags, int fd, int64_t offset)
    int munmap(void *at, size_t bytes)


def create_activity(path):
    """Write the machine's activity file: MAX_TENANTS idle records."""
    _write_file(path, segment() * GS_SEGMENTS)


def segment():
    """A part of the activity file that is a file of its own, as it is at first."""
    record = bytearray(sizeof(gs_activity))
    cdef unsigned char[::1] view = record
    _fill_header(&view[0], GS_FILE_ACTIVITY, sizeof(gs_activity))
    return bytes(record) * GS_SEGMENT_TENANTS


cdef class _Segments:
    """Files mapped one behind the other for writing, for as long as somebody looks at them."""

    cdef char *_start
    cdef size_t _bytes

    def __cinit__(self, descriptors, size_t each):
        cdef size_t i
        cdef void *at
        self._bytes = each * len(descriptors)
        at = map_memory(NULL, self._bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        if at == MAP_FAILED:
            raise OSError(errno, os.strerror(errno))
        self._start = <char *> at
        for i, descriptor in enumerate(descriptors):
            if os.fstat(descriptor).st_size != each:
                raise AbiError(f"activity: segment {i} has another size than it should")
            at = map_memory(
                self._start + i * each, each, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, descriptor, 0
            )
            if at == MAP_FAILED:
                raise OSError(errno, os.strerror(errno))

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        PyBuffer_FillInfo(buffer, self, self._start, self._bytes, 0, flags)

    def close(self):
        """It is unmapped with the last view of it."""

    def __dealloc__(self):
        if self._start != NULL:
            munmap(self._start, self._bytes)


cdef class Activity(_File):
    """The machine's activity file: what tenants tell each other."""

    def __init__(self, path, *, writable=False):
        self._map_file(path, writable, GS_FILE_ACTIVITY, sizeof(gs_activity), GS_MAX_TENANTS)

    @staticmethod
    def of_segments(descriptors):
        """The file whose parts these are, for writing; they may be closed."""
        cdef Activity made = Activity.__new__(Activity)
        if len(descriptors) != GS_SEGMENTS:
            raise AbiError(f"activity: {len(descriptors)} segments instead of {GS_SEGMENTS}")
        made.path = "activity"
        made._writable = True
        made._map = _Segments(descriptors, GS_SEGMENT_TENANTS * sizeof(gs_activity))
        made._expose()
        problem = _verify(<gs_header *> made._at, GS_FILE_ACTIVITY, sizeof(gs_activity))
        if problem:
            made.close()
            raise AbiError(f"activity: {problem} ({_WAY_OUT})")
        return made

    cdef gs_activity *_record(self, tenant_index) except NULL:
        self._check_open()
        if not 0 <= tenant_index < GS_MAX_TENANTS:
            raise IndexError(f"tenant {tenant_index} of {GS_MAX_TENANTS}")
        return &(<gs_activity *> self._at)[<int> tenant_index]

    def device(self, tenant_index, index):
        """What one tenant tells about one device."""
        _check_device(index, GS_MAX_DEVICES)
        cdef const gs_device_activity *row = &self._record(tenant_index).device[<int> index]
        return DeviceActivity(load64(&row.busy_until_ns), load64(&row.gpu_ns), load64(&row.throttled_ns))

    def clear(self, tenant_index):
        """Make a record idle again before a new tenant gets it."""
        self._check_writable()
        memset(&self._record(tenant_index).device[0], 0, GS_MAX_DEVICES * sizeof(gs_device_activity))
