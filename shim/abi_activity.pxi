# What tenants tell each other.  Part of abi.pyx.

def create_activity(path):
    """Write the machine's activity file: MAX_TENANTS idle records."""
    record = bytearray(sizeof(gs_activity))
    cdef unsigned char[::1] view = record
    _fill_header(&view[0], GS_FILE_ACTIVITY, sizeof(gs_activity))
    _write_file(path, bytes(record) * GS_MAX_TENANTS)


cdef class Activity(_File):
    """The machine's activity file: what tenants tell each other."""

    def __init__(self, path, *, writable=False):
        self._map_file(path, writable, GS_FILE_ACTIVITY, sizeof(gs_activity), GS_MAX_TENANTS)

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
