# What a tenant takes.  Part of abi.pyx.

_MOST_LOOKS = 100  # at a process that changes what it holds, until the parts and their sum agree


def create_usage(path):
    """Write an empty usage file: nothing used, no process."""
    content = bytearray(sizeof(gs_usage))
    cdef unsigned char[::1] view = content
    _fill_header(&view[0], GS_FILE_USAGE, sizeof(gs_usage))
    _write_file(path, bytes(content))


cdef class Usage(_File):
    """What a tenant takes: written by its processes, only read here."""

    cdef const gs_usage *_usage

    def __init__(self, path):
        self._map_file(path, False, GS_FILE_USAGE, sizeof(gs_usage), 1)
        self._usage = <const gs_usage *> self._at

    def device(self, index):
        """The tenant's total on one device, or of HOST_ROW."""
        self._check_open()
        _check_device(index, GS_ROWS)
        cdef const gs_device_usage *row = &self._usage.device[<int> index]
        cdef gs_total total = _read_total(&row.total)
        spent_ns = <int64_t> load64(&row.spent_ns)
        return DeviceUsage(total.used_bytes, load64(&row.peak_bytes), spent_ns, total.last)

    def launches(self, index):
        """How many launches the tenant's processes have made on one device; less when one has gone."""
        self._check_open()
        _check_device(index, GS_MAX_DEVICES)
        cdef uint64_t total = 0, claimed
        cdef int word, i
        for word in range(GS_MAX_SLOTS // 64):
            claimed, i = load64(&self._usage.claimed[word]), 64 * word
            while claimed:
                if claimed & 1:
                    total += load64(&self._usage.slot[i].device[<int> index].launches)
                claimed, i = claimed >> 1, i + 1
        return total

    def room_waited_ns(self, index):
        """How long launches on one device waited until enough of what was in flight was through."""
        self._check_open()
        _check_device(index, GS_MAX_DEVICES)
        return load64(&self._usage.device[<int> index].room_waited_ns)

    def copied(self, index):
        """What was copied to and from one device while there was a limit."""
        self._check_open()
        _check_device(index, GS_MAX_DEVICES)
        cdef const gs_device_usage *row = &self._usage.device[<int> index]
        return Copied(
            (load64(&row.copied_bytes[0]), load64(&row.copied_bytes[1])),
            (load64(&row.copy_waited_ns[0]), load64(&row.copy_waited_ns[1])),
        )

    def is_live(self, slot):
        """Whether the slot's process is alive: the kernel's word, from the lock that ends with the process."""
        self._check_open()
        if not 0 <= slot < GS_MAX_SLOTS:
            raise IndexError(f"slot {slot} of {GS_MAX_SLOTS}")
        cdef int owned = slot_is_owned(self._fd, <uint32_t> slot)
        if owned < 0:
            raise OSError(errno, os.strerror(errno), self.path)
        return bool(owned)

    def slots(self, device_count=MAX_DEVICES):
        """The tenant's live processes, with what each takes of the first `device_count` rows."""
        self._check_open()
        _check_device(device_count, GS_ROWS + 1)
        cdef uint64_t claimed
        cdef int i
        found = []
        for i in range(GS_MAX_SLOTS):
            claimed = load64(&self._usage.claimed[i // 64])
            if claimed >> (i % 64) & 1 and load32(&self._usage.slot[i].pid) and self.is_live(i):
                found.append(self._slot(i, device_count))
        return tuple(found)

    def times(self):
        """What each process says, dead ones included, of the time that it used of each device and waited for it: its slot,
        when it was started, and that by row.
        """
        self._check_open()
        cdef uint64_t claimed
        cdef int i, device
        cdef const gs_slot *slot
        found = []
        for i in range(GS_MAX_SLOTS):
            claimed = load64(&self._usage.claimed[i // 64]) >> (i % 64)
            if claimed & 1:
                slot = &self._usage.slot[i]
                rows = [
                    (load64(&slot.device[device].gpu_ns), load64(&slot.device[device].throttled_ns))
                    for device in range(GS_MAX_DEVICES)
                ]
                found.append((i, slot.start_ticks, tuple(rows)))
        return found

    def books(self, int device_count):
        """The live processes as slots(0) has them, with what each says of the first devices: bytes held, the sum of what
        it holds them for, and GPU time; in a part of the time that slots() takes.
        """
        return [(slot, [self._book(slot.slot, i) for i in range(device_count)]) for slot in self.slots(0)]

    cdef _book(self, int index, int device):
        cdef const gs_slot_device *row = &self._usage.slot[index].device[device]
        cdef uint64_t held = 0
        cdef int kind
        for _ in range(_MOST_LOOKS):
            held = _read_held(&self._usage.device[device].total, row, index)
            total = 0  # of any length, as a hostile process may have it
            for kind in range(GS_CHARGES):
                total += load64(&row.charged_bytes[kind])
            if total == held:
                break
        return held, total, load64(&row.gpu_ns)

    cdef _slot(self, int index, int device_count):
        cdef const gs_slot *slot = &self._usage.slot[index]
        devices = tuple([self._slot_device(index, i) for i in range(device_count)])
        return SlotUsage(index, slot.pid, slot.start_ticks, slot.pid_space, devices)

    cdef _slot_device(self, int index, int device):
        cdef const gs_slot_device *row = &self._usage.slot[index].device[device]
        cdef gs_slot_device copy
        cdef uint64_t held = 0, total
        cdef int kind
        for _ in range(_MOST_LOOKS):
            held = _read_held(&self._usage.device[device].total, row, index)
            total = 0
            for kind in range(GS_CHARGES):
                copy.charged_bytes[kind] = load64(&row.charged_bytes[kind])
                total += copy.charged_bytes[kind]
            if total == held:
                break
        charged = {name: copy.charged_bytes[<int> kind] for kind, name in CHARGES.items()}
        return SlotDevice(
            held, load64(&row.gpu_ns), load64(&row.launches), load64(&row.throttled_ns), load64(&row.denied), charged
        )

    @property
    def refusals(self):
        """How many allocations of the tenant were refused."""
        self._check_open()
        return load64(&self._usage.refusals)

    def refusals_since(self, number):
        """The refusals after the one of that number, oldest first; only the latest MAX_REFUSALS can be had.

        One that is being written is left out: whoever goes on from the last number returned gets it next time, unless
        later ones are there already, as when its writer was killed.
        """
        self._check_open()
        cdef uint64_t last = load64(&self._usage.refusals)
        cdef uint64_t at = max(number, last - GS_MAX_REFUSALS if last > GS_MAX_REFUSALS else 0)
        cdef const gs_refusal *note
        cdef gs_refusal copy
        found = []
        while at < last:
            at += 1
            note = &self._usage.refusal[(at - 1) % GS_MAX_REFUSALS]
            if load64(&note.stamp) != 2 * at:
                continue
            memcpy(&copy, note, sizeof(copy))
            if load_after(&note.stamp) != 2 * at:
                continue  # overwritten meanwhile
            api = (<bytes> copy.api[:60]).split(b"\0", 1)[0].decode(errors="replace")
            found.append(
                Refusal(
                    at, copy.time_ns, api, copy.row if copy.row >= 0 else None, copy.bytes, copy.used_bytes,
                    copy.limit_bytes, copy.pid, copy.slot,
                )
            )
        return tuple(found)


cdef gs_total _read_total(const gs_total *total) noexcept:
    """`last` names each change once, so that the same one before and after proves the bytes between."""
    cdef gs_total copy
    while True:
        copy.last = load64(&total.last)
        copy.used_bytes = load64(&total.used_bytes)
        if load64(&total.last) == copy.last:
            return copy


cdef uint64_t _read_held(const gs_total *total, const gs_slot_device *row, int slot) noexcept:
    """What the slot's changes that took effect leave it with."""
    cdef uint64_t sequence, last, applied, held
    while True:
        sequence = load64(&row.sequence)
        last = load64(&total.last)  # before `applied`: whoever overwrites `last` has raised that first
        applied = load64(&row.applied)
        if last != (<uint64_t> slot << 48 | sequence) and applied < sequence:
            held = load64(&row.held_bytes[(sequence - 1) & 1])
        else:
            held = load64(&row.held_bytes[sequence & 1])
        if load64(&row.sequence) == sequence:
            return held
