# A shared file, whatever it holds: how it is made, verified and mapped.  Part of abi.pyx.

_KIND_NAMES = {GS_FILE_LIMITS: "limits", GS_FILE_USAGE: "usage", GS_FILE_ACTIVITY: "activity"}
_WAY_OUT = "stop the tenant's programs and start them again with gshare run"


class AbiError(Exception):
    """A shared file cannot be used; the message names it and says what to do."""


cdef class _File:
    """A shared file, mapped.  Nothing is read from it before it has been verified."""

    cdef readonly str path
    cdef object _map
    cdef int _fd
    cdef Py_buffer _buffer
    cdef bint _exported
    cdef unsigned char *_at
    cdef bint _writable

    def __cinit__(self, *args, **kwargs):
        self._fd = -1
        self._exported = False
        self._at = NULL

    cdef _map_file(self, path, bint writable, uint32_t kind, uint64_t size, uint64_t count):
        self.path = os.fspath(path)
        self._writable = writable
        try:
            self._fd = os.open(self.path, (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC)
        except OSError as error:
            raise AbiError(f"{self.path}: cannot open: {error.strerror} ({_WAY_OUT})") from None
        actual = os.fstat(self._fd).st_size
        problem = f"{actual} bytes are too few for any {_KIND_NAMES[kind]} file"
        if actual >= sizeof(gs_header):
            access = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
            self._map = mmap.mmap(self._fd, actual, mmap.MAP_SHARED, access)
            self._expose()
            problem = _verify(<gs_header *> self._at, kind, size)
        if not problem and actual != size * count:
            problem = f"a damaged {_KIND_NAMES[kind]} file: {actual} bytes instead of {size * count}"
        if problem:
            self.close()
            raise AbiError(f"{self.path}: {problem} ({_WAY_OUT})")

    cdef _expose(self):
        PyObject_GetBuffer(self._map, &self._buffer, PyBUF_SIMPLE)
        self._exported = True
        self._at = <unsigned char *> self._buffer.buf

    cdef _check_open(self):
        if self._at == NULL:
            raise ValueError(f"{self.path}: closed")

    cdef _check_writable(self):
        self._check_open()
        if not self._writable:
            raise ValueError(f"{self.path}: opened for reading")

    def close(self):
        """Unmap; may be called again."""
        self._at = NULL
        if self._exported:
            PyBuffer_Release(&self._buffer)
            self._exported = False
        if self._map is not None:
            with suppress(BufferError):  # then it is unmapped with the last view of it
                self._map.close()
            self._map = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def memory(self):
        """The mapped bytes; they stay mapped for as long as somebody looks at them."""
        self._check_open()
        return memoryview(self._map)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def __dealloc__(self):
        if self._exported:
            PyBuffer_Release(&self._buffer)
        if self._fd >= 0:
            os.close(self._fd)


cdef str _verify(const gs_header *header, uint32_t kind, uint64_t size):
    """What is wrong with the header, or nothing."""
    name = _KIND_NAMES[kind]
    if header.magic != GS_ABI_MAGIC:
        return f"not a {name} file of gshare"
    if header.version != GS_ABI_VERSION:
        return f"a {name} file of version {header.version}, where this gshare is of version {GS_ABI_VERSION}"
    if header.kind != kind:
        return f"a {_KIND_NAMES.get(header.kind, 'strange')} file in the place of the {name} file"
    if header.size_bytes != size:
        return f"a damaged {name} file: it claims {header.size_bytes} bytes instead of {size}"
    if load32(&header.ready) != 1:
        return f"a {name} file that was never finished"
    return ""


cdef void _fill_header(void *at, uint32_t kind, uint64_t size) noexcept:
    cdef gs_header *header = <gs_header *> at
    header.magic = GS_ABI_MAGIC
    header.version = GS_ABI_VERSION
    header.kind = kind
    header.size_bytes = size
    store32(&header.ready, 1)


cdef _write_file(path, bytes content):
    """Make the file whole under another name and move it into place."""
    path = os.fspath(path)
    temporary = f"{path}.{os.getpid()}.tmp"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(fd, view):]
            os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


cdef _check_device(index, uint32_t count):
    if not 0 <= index < count:
        raise IndexError(f"device {index} of {count}")
