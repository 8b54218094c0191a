/* slot.c -- the locks of slots: who is alive, who is dead, and who empties a slot, by the kernel's word alone.
 *
 * What keeps a slot's lock is a one-page mapping, which no close(), closefrom() or daemonisation takes away, which a
 * forked child does not get, and which death and exec end.  The descriptor itself is closed at once. */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "slot.h"

#ifndef F_OFD_GETLK
#define F_OFD_GETLK 36
#define F_OFD_SETLK 37
#endif

enum { ALIVE_BYTES = 1, TAKEN_BYTES = 2 };

static int set_lock(int fd, int64_t from, int64_t bytes, short type)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = from, .l_len = bytes};

    if (!fcntl(fd, F_OFD_SETLK, &lock))
        return 0;
    return errno == EAGAIN || errno == EACCES ? GS_SLOT_TAKEN : errno;
}

int gs_slot_take(int fd, uint32_t slot)
{
    return set_lock(fd, GS_SLOT_LOCK(slot), TAKEN_BYTES, F_WRLCK);
}

int gs_slot_take_dead(int fd, uint32_t slot, int *patience)
{
    const struct timespec pause = {.tv_nsec = 50000};

    for (;;) {
        struct flock seen = {
            .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = GS_SLOT_LOCK(slot), .l_len = ALIVE_BYTES};
        int error;

        if (fcntl(fd, F_OFD_GETLK, &seen))
            return errno;
        if (seen.l_type == F_UNLCK) {
            error = gs_slot_take(fd, slot);
            if (error != GS_SLOT_TAKEN)
                return error;
        } else if (seen.l_len == ALIVE_BYTES) {
            return GS_SLOT_TAKEN;
        } else if ((*patience)-- > 0) {
            nanosleep(&pause, NULL);
        } else {
            return GS_SLOT_TAKEN;
        }
    }
}

void gs_slot_let_go(int fd, uint32_t slot)
{
    set_lock(fd, GS_SLOT_LOCK(slot), TAKEN_BYTES, F_UNLCK);
}

void gs_slot_own(int fd, uint32_t slot)
{
    set_lock(fd, GS_SLOT_LOCK(slot) + ALIVE_BYTES, TAKEN_BYTES - ALIVE_BYTES, F_UNLCK);
}

int gs_slot_keep_locks(int fd)
{
    void *page = mmap(NULL, GS_PAGE, PROT_READ, MAP_SHARED, fd, 0);
    int error;

    if (page == MAP_FAILED)
        return errno;
    if (!madvise(page, GS_PAGE, MADV_DONTFORK))
        return 0;
    error = errno;
    munmap(page, GS_PAGE);
    return error;
}
