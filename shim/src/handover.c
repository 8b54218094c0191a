/* handover.c -- takes the tenant's memory from the machine's keeper. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "handover.h"

#define PATIENCE_NS 100000000
#define PAUSE_NS    1000000
#define MOST        (GS_HANDED_FIRST + GS_SEGMENTS)

static const char not_yours[] = "not this user's to run in";
static const size_t segment_bytes = GS_SEGMENT_TENANTS * sizeof(struct gs_activity);

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000ll + now.tv_nsec;
}

static int name(const char *directory, struct sockaddr_un *address)
{
    const size_t room = sizeof address->sun_path;

    address->sun_family = AF_UNIX;
    return (size_t)snprintf(address->sun_path, room, "%s/" GS_HANDOVER_SOCKET, directory) < room;
}

int gs_handover_offered(const char *directory)
{
    struct sockaddr_un address;

    return name(directory, &address) && access(address.sun_path, F_OK) == 0;
}

/* A connected socket; -1 with errno. */
static int reach(const char *directory, int64_t until_ns)
{
    const struct timespec pause = {.tv_nsec = PAUSE_NS};
    struct sockaddr_un address;
    int fd, error;

    if (!name(directory, &address)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    while (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address)) {
        error = errno;
        if ((error == EAGAIN || error == EINTR) && now_ns() < until_ns) { /* many wait before us */
            nanosleep(&pause, NULL);
            continue;
        }
        close(fd);
        errno = error == EAGAIN ? ETIMEDOUT : error;
        return -1;
    }
    return fd;
}

static int wait_for_answer(int fd, int64_t until_ns)
{
    struct pollfd asked = {.fd = fd, .events = POLLIN};
    int64_t left_ns;
    int ready;

    do {
        left_ns = until_ns - now_ns();
        ready = poll(&asked, 1, left_ns > 0 ? (int)(left_ns / 1000000) + 1 : 0);
    } while (ready < 0 && errno == EINTR && left_ns > 0);
    return ready > 0;
}

/* Takes the descriptors of a message into `fds`, and returns how many; more than there may be are closed. */
static size_t unpack(struct msghdr *message, int fds[MOST])
{
    size_t count = 0;

    for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part; part = CMSG_NXTHDR(message, part)) {
        size_t here;

        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
            continue;
        here = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < here; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(part) + i * sizeof fd, sizeof fd);
            if (count < MOST)
                fds[count++] = fd;
            else
                close(fd);
        }
    }
    return count;
}

static const char *what_is_wrong(ssize_t length, const struct gs_handed *handed, int truncated, size_t count)
{
    if (length == 0)
        return "the machine's gshare does not hand it over";
    if (length != sizeof *handed || handed->magic != GS_ABI_MAGIC)
        return "not a socket of gshare";
    if (handed->status == GS_NOT_YOURS)
        return not_yours;
    if (handed->version != GS_ABI_VERSION)
        return "made by another version of gshare";
    if (truncated)
        return "too few file descriptors are left to this process";
    if (handed->segments != GS_SEGMENTS || handed->own_segment >= GS_SEGMENTS || count != MOST)
        return "damaged: not what gshare hands over";
    return NULL;
}

static const char *receive(int fd, struct gs_taken *taken)
{
    union {
        char bytes[CMSG_SPACE(MOST * sizeof(int))];
        struct cmsghdr aligned;
    } control;
    struct gs_handed handed = {0};
    struct iovec data = {.iov_base = &handed, .iov_len = sizeof handed};
    struct msghdr message = {
        .msg_iov = &data, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control};
    int fds[MOST];
    ssize_t length = recvmsg(fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    size_t count = length < 0 ? 0 : unpack(&message, fds);
    const char *wrong = what_is_wrong(length, &handed, message.msg_flags & MSG_CTRUNC, count);

    if (wrong) {
        while (count)
            close(fds[--count]);
        return wrong;
    }
    taken->limits = fds[0];
    taken->usage = fds[1];
    taken->own_segment = fds[2];
    memcpy(taken->segment, fds + GS_HANDED_FIRST, sizeof taken->segment);
    taken->own_segment_index = handed.own_segment;
    return NULL;
}

const char *gs_handover_take(const char *directory, struct gs_taken *taken)
{
    int64_t until_ns = now_ns() + PATIENCE_NS;
    int fd = reach(directory, until_ns);
    const char *wrong;

    if (fd < 0)
        return errno == ECONNREFUSED ? "nobody hands it over: the machine's gshare does not run"
               : errno == EACCES     ? not_yours
                                     : strerror(errno);
    wrong = wait_for_answer(fd, until_ns) ? receive(fd, taken) : "the machine's gshare does not answer";
    close(fd);
    return wrong;
}

static void close_one(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void gs_handover_close(struct gs_taken *taken)
{
    close_one(&taken->limits);
    close_one(&taken->usage);
    close_one(&taken->own_segment);
    for (size_t i = 0; i < GS_SEGMENTS; i++)
        close_one(&taken->segment[i]);
}

static int is_whole(int fd)
{
    return lseek(fd, 0, SEEK_END) == (off_t)segment_bytes;
}

const char *gs_handover_map_activity(const struct gs_taken *taken, void **activity)
{
    const size_t all_bytes = GS_SEGMENTS * segment_bytes;
    char *start = mmap(NULL, all_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (start == MAP_FAILED)
        return strerror(errno);
    for (size_t i = 0; i < GS_SEGMENTS; i++) {
        int own = i == taken->own_segment_index;
        int fd = own ? taken->own_segment : taken->segment[i];
        int protection = own ? PROT_READ | PROT_WRITE : PROT_READ;
        void *at = start + i * segment_bytes;

        if (is_whole(fd) && mmap(at, segment_bytes, protection, MAP_SHARED | MAP_FIXED, fd, 0) == at)
            continue;
        munmap(start, all_bytes);
        return "damaged: a part of it is too short, or cannot be mapped";
    }
    *activity = start;
    return NULL;
}
