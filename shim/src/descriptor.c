/* descriptor.c -- whether a descriptor that stands for memory is still open, in this process or any other.
 *
 * The memory behind an exported descriptor lives for as long as the open file does: through copies, in messages
 * under way and in other processes.  A lock of an open file (OFD) lives exactly as long.  So each exported file
 * gets a read lock on a byte of its own, far behind the end, and a second open file of the same inode (the probe)
 * sees whether that lock is still there.  On hardware all exported files are of one inode; then one probe does.
 *
 * The caller holds the lock of physical.c. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "descriptor.h"
#include "grow.h"

#ifndef F_OFD_GETLK
#define F_OFD_GETLK 36
#define F_OFD_SETLK 37
#endif

#define BYTES_OF_A_MARK 65536u

static struct probe {
    struct gs_copy file;
    uint32_t users;
} * probes;

static uint32_t count, room;
static uint64_t next_byte; /* 0: not chosen yet; other processes mark the same inode elsewhere */

static int identify(int fd, struct gs_copy *file)
{
    struct stat status;

    if (syscall(SYS_fstat, fd, &status))
        return 0;
    file->inode = status.st_ino;
    file->device = status.st_dev;
    file->fd = fd;
    return 1;
}

static int is_same(const struct gs_copy *file, int fd)
{
    struct gs_copy other;

    return identify(fd, &other) && file->inode == other.inode && file->device == other.device;
}

/* The program may have closed what it did not open. */
static int is_there(const struct gs_copy *file)
{
    return file->inode && is_same(file, file->fd);
}

struct gs_copy gs_copy_of(int fd)
{
    struct gs_copy copy = {0};
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);

    if (own >= 0 && !identify(own, &copy))
        close(own);
    return copy;
}

void gs_copy_close(struct gs_copy *copy)
{
    if (is_there(copy))
        close(copy->fd);
    copy->inode = 0;
}

static int open_again(int fd)
{
    char path[32];

    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return open(path, O_RDONLY | O_CLOEXEC);
}

/* Plus 1; 0: there is none. */
static uint32_t probe_for(int fd)
{
    uint32_t at = 0;
    int own;

    while (at < count && !(probes[at].users && is_same(&probes[at].file, fd) && is_there(&probes[at].file)))
        at++;
    if (at < count) {
        probes[at].users++;
        return at + 1;
    }
    for (at = 0; at < count && probes[at].users; at++)
        ;
    if (at == room && !gs_grow(&probes, &room, sizeof *probes))
        return 0;
    own = open_again(fd);
    if (own < 0 || !identify(own, &probes[at].file))
        return 0;
    probes[at].users = 1;
    count = at < count ? count : at + 1;
    return at + 1;
}

/* Who shares an inode with us must not share a byte. */
static uint64_t choose_byte(void)
{
    struct timespec now;

    if (!next_byte) {
        clock_gettime(CLOCK_MONOTONIC, &now);
        next_byte = ((uint64_t)getpid() << 32 ^ (uint64_t)now.tv_sec << 30 ^ (uint64_t)now.tv_nsec) *
                        0x9e3779b97f4a7c15ull >>
                    2;
    }
    next_byte += BYTES_OF_A_MARK;
    return next_byte;
}

/* Does another open file than that of `fd` hold a lock there? */
static int is_locked(int fd, uint64_t byte, uint32_t bytes)
{
    struct flock asked = {
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)byte, .l_len = (off_t)bytes};

    return !fcntl(fd, F_OFD_GETLK, &asked) && asked.l_type != F_UNLCK;
}

void gs_mark_put(struct gs_mark *mark, int fd)
{
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_len = 1};

    if (!mark->probe) {
        mark->probe = probe_for(fd);
        mark->first = choose_byte();
        mark->count = 0;
    }
    if (!mark->probe || mark->count == BYTES_OF_A_MARK)
        return;
    lock.l_start = (off_t)(mark->first + mark->count);
    if (!fcntl(fd, F_OFD_SETLK, &lock))
        mark->count++;
}

int gs_mark_seen(const struct gs_mark *mark)
{
    return mark->count && is_there(&probes[mark->probe - 1].file) &&
           is_locked(probes[mark->probe - 1].file.fd, mark->first, mark->count);
}

int gs_mark_on(const struct gs_mark *mark, int fd)
{
    const struct gs_copy *file = mark->count ? &probes[mark->probe - 1].file : NULL;

    if (!file || !is_there(file) || !is_same(file, fd))
        return 0;
    for (uint64_t byte = mark->first; byte < mark->first + mark->count; byte++)
        if (is_locked(file->fd, byte, 1) && !is_locked(fd, byte, 1)) /* no lock is in its owner's way */
            return 1;
    return 0;
}

void gs_mark_clear(struct gs_mark *mark)
{
    struct probe *probe = mark->probe ? &probes[mark->probe - 1] : NULL;

    if (probe && !--probe->users)
        gs_copy_close(&probe->file);
    *mark = (struct gs_mark){0};
}

void gs_descriptor_forget(void)
{
    for (uint32_t i = 0; i < count; i++)
        if (probes[i].users)
            gs_copy_close(&probes[i].file);
    probes = NULL;
    count = room = 0;
    next_byte = 0;
}
