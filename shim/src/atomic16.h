/* atomic16.h -- the two operations on a struct gs_total, without libatomic. */
#ifndef GS_ATOMIC16_H
#define GS_ATOMIC16_H

#include "abi.h"

/* `last` names each change once, so that the same one before and after proves the bytes between. */
static inline struct gs_total gs_total_read(const struct gs_total *total)
{
    struct gs_total seen;

    do {
        seen.last = __atomic_load_n(&total->last, __ATOMIC_ACQUIRE);
        seen.used_bytes = __atomic_load_n(&total->used_bytes, __ATOMIC_ACQUIRE);
    } while (__atomic_load_n(&total->last, __ATOMIC_ACQUIRE) != seen.last);
    return seen;
}

/* True: *total was `old` and is `new` now. */
static inline int gs_total_swap(struct gs_total *total, struct gs_total old, struct gs_total new)
{
#if defined __x86_64__
    int done;

    __asm__ volatile("lock cmpxchg16b %1"
                     : "=@ccz"(done), "+m"(*total), "+a"(old.used_bytes), "+d"(old.last)
                     : "b"(new.used_bytes), "c"(new.last)
                     : "memory");
    return done;
#elif defined __aarch64__
    uint64_t used_bytes, last;
    uint32_t failed;

    __asm__ volatile(
        "1:	ldaxp	%[used], %[last], %[total]\n"
        "	cmp	%[used], %[old_used]\n"
        "	ccmp	%[last], %[old_last], #0, eq\n"
        "	b.ne	2f\n"
        "	stlxp	%w[failed], %[new_used], %[new_last], %[total]\n"
        "	cbnz	%w[failed], 1b\n"
        "	b	3f\n"
        "2:	clrex\n"
        "	mov	%w[failed], #1\n"
        "3:"
        : [used] "=&r"(used_bytes), [last] "=&r"(last), [failed] "=&r"(failed), [total] "+Q"(*total)
        : [old_used] "r"(old.used_bytes), [old_last] "r"(old.last), [new_used] "r"(new.used_bytes),
          [new_last] "r"(new.last)
        : "cc", "memory");
    return !failed;
#else
#error "no 16-byte compare-and-swap is known for this processor"
#endif
}

#endif
