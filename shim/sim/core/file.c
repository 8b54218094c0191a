/* file.c -- the file that is the simulated machine: made whole or not at all, recognised or refused.
 *
 * It is its maker's alone (0600): who may write to it could make any program on it crash.  So a file of another user's
 * is refused even where its mode or being root would allow it, as anybody may put one into /dev/shm. */
#include "recognise.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEFAULT_SLICE_NS  1024000
#define DEFAULT_SWITCH_NS 50000
#define DEFAULT_SAMPLE_NS 166666667
#define LEAST_SAMPLE_NS   100000

void sim_machine_path(char *path, unsigned size)
{
    const char *given = getenv("SIMGPU_MACHINE");
    if (given && *given)
        snprintf(path, size, "%s", given);
    else
        snprintf(path, size, "/dev/shm/simgpu-%u/machine", (unsigned)getuid());
}

static uint64_t number(const char *variable, uint64_t otherwise)
{
    const char *text = getenv(variable);
    char *end;
    if (!text || !*text)
        return otherwise;
    errno = 0;
    uint64_t value = strtoull(text, &end, 10);
    return *end || errno ? otherwise : value;
}

static uint64_t scramble(uint64_t x) /* splitmix64 */
{
    x += 0x9e3779b97f4a7c15ull;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

/* The same for the same device of every machine, so that what is kept by UUID outlives a simulation. */
static void make_uuid(uint8_t uuid[16], const char *key, uint32_t index)
{
    uint64_t seed = index;
    for (const char *c = key; *c; c++)
        seed = scramble(seed ^ (uint64_t)(unsigned char)*c);
    uint64_t half[2] = {scramble(seed), scramble(seed + 1)};
    memcpy(uuid, half, 16);
    uuid[6] = (uint8_t)((uuid[6] & 0x0f) | 0x40); /* the version and variant bits of a random UUID */
    uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
}

/* "h200", "h200*2", "h200,l4*2".  Returns false when no profile has that name or there are too many. */
static bool add_devices(struct sim_machine *m, const char *spec)
{
    char text[256], *rest = text, *item;
    if (snprintf(text, sizeof(text), "%s", spec) >= (int)sizeof(text))
        return false;
    while ((item = strsep(&rest, ","))) {
        unsigned long count = 1;
        char *star = strchr(item, '*'), *end;
        if (star) {
            *star = '\0';
            count = strtoul(star + 1, &end, 10);
            if (*end || end == star + 1)
                return false;
        }
        const struct sim_profile *profile = sim_profile_find(item);
        if (!profile || count < 1 || count > SIM_MAX_DEVICES - m->device_count)
            return false;
        while (count--) {
            struct sim_device *device = &m->device[m->device_count];
            device->profile = *profile;
            make_uuid(device->uuid, profile->key, m->device_count);
            device->phase_start_ns = device->slice_start_ns = m->boot_ns;
            device->phase_end_ns = device->next_ns = UINT64_MAX;
            m->device_count++;
        }
    }
    return m->device_count > 0;
}

static void init_lock(pthread_mutex_t *lock)
{
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(lock, &attributes);
    pthread_mutexattr_destroy(&attributes);
}

static bool fill_machine(struct sim_machine *m, const char *path, const char *profile)
{
    m->magic = SIM_MAGIC;
    m->version = SIM_VERSION;
    m->size_bytes = sizeof(*m);
    init_lock(&m->lock);
    m->virtual_clock = sim_clock_beside(path);
    m->boot_ns = m->now_ns = m->virtual_clock ? SIM_VIRTUAL_START_NS : sim_now_ns();
    sim_read_boot_id(m->boot_id, sizeof(m->boot_id));
    m->next_ns = UINT64_MAX;
    m->slice_ns = number("SIMGPU_SLICE_NS", DEFAULT_SLICE_NS);
    m->switch_ns = number("SIMGPU_SWITCH_NS", DEFAULT_SWITCH_NS);
    m->sample_ns = number("SIMGPU_SAMPLE_NS", DEFAULT_SAMPLE_NS);
    m->sample_due_ns = m->boot_ns + m->sample_ns;
    m->eager_stamps = (uint32_t)number("SIMGPU_EAGER_STAMPS", 0);
    m->mps = number("SIMGPU_MPS", 0) != 0;
    if (m->slice_ns == 0 || m->sample_ns < LEAST_SAMPLE_NS || !add_devices(m, profile))
        return false;
    atomic_store_explicit(&m->ready, 1, memory_order_release);
    return true;
}

static struct sim_machine *map(int fd)
{
    void *p = mmap(NULL, sizeof(struct sim_machine), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        return NULL;
    madvise(p, sizeof(struct sim_machine), MADV_DONTFORK); /* a child is no client of the machine */
    madvise(p, sizeof(struct sim_machine), MADV_DONTDUMP);
    return p;
}

/* The parts that every process writes to; the rest grows with its use (account.c, queue.c, event.c, share.c). */
static bool have_common_room(const struct sim_machine *m)
{
    return sim_have_room(m, offsetof(struct sim_machine, process)) &&
           sim_have_room(m->context, sizeof(m->context)) && sim_have_room(m->queue, sizeof(m->queue)) &&
           sim_have_room(&m->mps, offsetof(struct sim_machine, share) - offsetof(struct sim_machine, mps));
}

/* Made under another name and put in its place when whole: nobody ever sees half a machine.  Only where `instead`, it
 * takes the place of what is there. */
static int create(const char *path, const char *profile, bool instead, char *why, unsigned why_size)
{
    char temporary[4096];
    snprintf(temporary, sizeof(temporary), "%s.%d.new", path, (int)getpid());
    int fd = open(temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        int failed = errno;
        if (failed != EACCES || !sim_file_is_anothers(path, -1, why, why_size))
            snprintf(why, why_size, failed == ENOENT ? "%s: its folder does not exist" : "%s: %s", path,
                     strerror(failed));
        return -1;
    }
    struct sim_machine *m = NULL;
    bool whole = false;
    if (ftruncate(fd, sizeof(*m)) != 0 || (m = map(fd)) == NULL)
        snprintf(why, why_size, "%s: %s", temporary, strerror(errno));
    else if (!have_common_room(m))
        snprintf(why, why_size, "%s: no room for a simulated machine: its disk is full", path);
    else if (!fill_machine(m, path, profile))
        snprintf(why, why_size, "SIMGPU_PROFILE=%s: no such devices (h200, a100, l4, t4; h200*2)", profile);
    else if (instead ? rename(temporary, path) : link(temporary, path) && errno != EEXIST)
        snprintf(why, why_size, "%s: %s", path, strerror(errno));
    else
        whole = true;
    if (m)
        munmap(m, sizeof(*m));
    close(fd);
    unlink(temporary);
    return whole ? 0 : -1;
}

/* The machine in that file, or NULL and what is wrong with it. */
static struct sim_machine *map_machine(int fd, const char **wrong)
{
    *wrong = sim_file_wrong(fd);
    struct sim_machine *m = *wrong ? NULL : map(fd);
    if (!*wrong)
        *wrong = m ? sim_machine_wrong(m) : strerror(errno);
    if (m && *wrong) {
        munmap(m, sizeof(*m));
        m = NULL;
    }
    return m;
}

/* What is in the machine's place and is none: a new one takes it, unless that would be a loss to anybody.  False and
 * `why` where it would. */
static bool make_anew(const char *path, const char *profile, int fd, const char *wrong, char *why,
                      unsigned why_size)
{
    char users[512];
    struct stat now, then;
    if (flock(fd, LOCK_EX) != 0 || stat(path, &now) != 0 || fstat(fd, &then) != 0 ||
        now.st_ino != then.st_ino)
        return true; /* another program was faster */
    if (!sim_file_expendable(path, fd)) {
        snprintf(why, why_size, "%s: %s (remove it, or set SIMGPU_MACHINE to another path)", path, wrong);
        return false;
    }
    sim_file_users(path, fd, users, sizeof(users));
    if (*users) {
        snprintf(why, why_size, "%s: %s, and in use by %s: it can be made anew when they have ended", path,
                 wrong, users);
        return false;
    }
    if (create(path, profile, true, why, why_size))
        return false;
    snprintf(why, why_size, "%s: %s; made anew", path, wrong);
    return true;
}

#define TRIES 10 /* others may be removing and making it at the same time */

struct sim_machine *sim_machine_open_at(const char *path, const char *profile, bool make, char *why,
                                        unsigned why_size)
{
    *why = '\0';
    for (int i = 0; i < TRIES; i++) {
        int fd = open(path, O_RDWR | O_CLOEXEC);
        if (fd < 0 && errno == ENOENT && make) {
            char folder[4096];
            snprintf(folder, sizeof(folder), "%s", path);
            char *slash = strrchr(folder, '/');
            if (slash && slash != folder) {
                *slash = '\0';
                mkdir(folder, 0700); /* the default one; any other is the caller's, and is there */
            }
            if (create(path, profile, false, why, why_size))
                return NULL;
            continue;
        }
        int failed = fd < 0 ? errno : 0;
        if ((fd >= 0 || failed == EACCES) && sim_file_is_anothers(path, fd, why, why_size)) {
            if (fd >= 0)
                close(fd);
            return NULL;
        }
        if (fd < 0) {
            snprintf(why, why_size, "%s: %s", path, strerror(failed));
            return NULL;
        }
        const char *wrong;
        struct sim_machine *m = map_machine(fd, &wrong);
        bool again = !m && make && make_anew(path, profile, fd, wrong, why, why_size);
        if (!m && !make)
            snprintf(why, why_size, "%s: %s", path, wrong);
        close(fd);
        if (m || !again) {
            errno = EPROTO;
            return m;
        }
    }
    snprintf(why, why_size, "%s: others keep replacing it", path);
    return NULL;
}

struct sim_machine *sim_machine_open(bool make, char *why, unsigned why_size)
{
    char path[4000];
    const char *profile = getenv("SIMGPU_PROFILE");
    sim_machine_path(path, sizeof(path));
    struct sim_machine *m =
        sim_machine_open_at(path, profile && *profile ? profile : "h200", make, why, why_size);
    if (m && (m->virtual_clock != 0) != sim_on_virtual_clock()) {
        snprintf(why, why_size,
                 m->virtual_clock ? "%s: on the virtual clock, and this program is not"
                                  : "%s: on the real clock, and this program is not",
                 path);
        sim_machine_close(m);
        return NULL;
    }
    return m;
}

void sim_machine_close(struct sim_machine *m)
{
    if (m)
        munmap(m, sizeof(*m));
}
