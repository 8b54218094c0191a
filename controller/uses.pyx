# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Whether a tenant has had more of a device's time than its share: pure, time is an argument.

In C, since all tenants are looked at on all devices each second.  What they say of themselves may be anything: sums
wrap, and only differences over a few seconds mean something.
"""

from libc.stdint cimport int64_t, uint64_t

cdef enum:
    MOST_USES = 64

UNCHARGED, NOT_HELD_BACK = "uncharged", "not-held-back"

cdef int64_t EXCESS_PPM = 200000  # of a device's time: so far a tenant may be above its share
cdef int64_t WINDOW = 5000000000, DEBT_WINDOW = 7000000000  # ns: so long it must have been
cdef int64_t MOST_AT_ONCE = 1 << 50  # ns that a look may add
cdef int64_t DEBT = 200000000  # ns: who owes so much of a device's time is not let launch


cdef struct Use:
    int64_t at_ns, used_ns, charged_ns, spent_ns, allowed_ns
    uint64_t launches


cdef class Uses:
    """A tenant's use of a device's time, look after look."""

    cdef Use _kept[MOST_USES]
    cdef int _count, _next

    cdef const Use *_ago(self, int back) noexcept nogil:
        """The latest but `back`."""
        return &self._kept[(self._next - 1 - back + 2 * MOST_USES) % MOST_USES]

    def add(self, int64_t at_ns, used_ns, charged_ns, int64_t spent_ns, int64_t allowed_ns, uint64_t launches):
        """What was used since the last look, by the driver's word, and charged for; then what the tenant's bucket was
        charged so far, which is the same but for what is not measured yet, what its line allowed, and its launches.
        """
        cdef Use now = Use(at_ns, 0, 0, spent_ns, allowed_ns, launches)
        if self._count:
            now.used_ns = self._ago(0).used_ns + <int64_t> min(used_ns, MOST_AT_ONCE)
            now.charged_ns = self._ago(0).charged_ns + <int64_t> min(charged_ns, MOST_AT_ONCE)
        self._kept[self._next] = now
        self._next = (self._next + 1) % MOST_USES
        self._count = min(self._count + 1, <int> MOST_USES)

    cdef int64_t _above_ppm(self, int64_t length_ns, int *first) noexcept nogil:
        """How far above its share it was over the latest looks that span the length, as few as do; -1: none do."""
        cdef const Use *last = self._ago(0)
        cdef const Use *use
        cdef int64_t elapsed_ns, allowed_ns
        for first[0] in range(self._count):
            use = self._ago(first[0])
            elapsed_ns = last.at_ns - use.at_ns
            if elapsed_ns >= length_ns:
                allowed_ns = min(last.allowed_ns - use.allowed_ns, elapsed_ns)
                return <int64_t> (<long double> (last.used_ns - use.used_ns - allowed_ns) * 1000000 / elapsed_ns)
        return -1

    def over_share(self):
        """How it has had more of the last seconds than its share, and how much above it in ppm; or empty.

        Who is in debt for one long kernel launches nothing more: that is no more than its share in the long run.
        """
        cdef int back = 0
        cdef const Use *last = self._ago(0)
        cdef const Use *first
        cdef int64_t charged_ns
        cdef int64_t above_ppm = self._above_ppm(WINDOW, &back)
        if above_ppm > EXCESS_PPM:
            first = self._ago(back)
            charged_ns = min(last.charged_ns - first.charged_ns, last.spent_ns - first.spent_ns)
            if last.used_ns - first.used_ns - charged_ns > (last.at_ns - first.at_ns) * EXCESS_PPM // 1000000:
                return UNCHARGED, above_ppm
        above_ppm = self._above_ppm(DEBT_WINDOW, &back)
        if above_ppm > EXCESS_PPM and last.launches > self._ago(back).launches and self._owed_all_along(back):
            return NOT_HELD_BACK, above_ppm
        return "", 0

    cdef bint _owed_all_along(self, int back) noexcept nogil:
        cdef const Use *use
        while back >= 0:
            use = self._ago(back)
            if use.spent_ns - use.allowed_ns <= DEBT:
                return False
            back -= 1
        return True
