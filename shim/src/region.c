/* region.c -- finds and maps the tenant's files, and claims this process's slot. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "asked.h"
#include "handover.h"
#include "log.h"
#include "preloaded.h"
#include "quota.h"
#include "region.h"
#include "self.h"
#include "slot.h"

/* Mounted there by whoever confines the process: nobody's environment. */
#define SELF_DIR   "/run/gshare/self"
#define PATH_BYTES 4096
#define WAY_OUT    "start the program again with gshare run"

enum state { UNKNOWN, NOT_ASKED, FAILED, MAPPED };

struct identity {
    dev_t device;
    ino_t inode;
};

const struct gs_region gs_region_unknown;
const struct gs_region *gs_region_mapped = &gs_region_unknown;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of all below */
static enum state state;
static struct gs_region region; /* mapped once, and for good; `own` and `slot` are this process's */
static struct identity usage_identity;
static char directory[PATH_BYTES - 16]; /* leaves room for a file's name */
static char failure[256 + PATH_BYTES];
static int failure_is_told;

/* Where the tenant's memory has no names.  What was taken is closed before the lock is let go. */
static int is_handed_over, holds_taken;
static struct gs_taken taken;

static void fail(const char *name, const char *why)
{
    snprintf(failure, sizeof failure, "%s%s%s: %s (" WAY_OUT ")", directory, name ? "/" : "",
             name ? name : "", why);
}

/* The symbol fstat is younger than the oldest C library we run on. */
static int identify(int fd, struct identity *identity)
{
    struct stat status;

    if (syscall(SYS_fstat, fd, &status))
        return -1;
    identity->device = status.st_dev;
    identity->inode = status.st_ino;
    return 0;
}

static int open_file(const char *name, int flags)
{
    char path[PATH_BYTES];

    if (is_handed_over)
        return fcntl(strcmp(name, "limits") ? taken.usage : taken.limits, F_DUPFD_CLOEXEC, 0);
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return open(path, flags | O_CLOEXEC);
}

static const char *what_is_wrong(const struct gs_header *header, enum gs_file_kind kind, size_t size_bytes)
{
    if (header->magic != GS_ABI_MAGIC)
        return "not a file of gshare";
    if (header->version != GS_ABI_VERSION)
        return "made by another version of gshare";
    if (header->kind != kind)
        return "another file of gshare in this one's place";
    if (header->size_bytes != size_bytes)
        return "damaged: its header states another size";
    if (__atomic_load_n(&header->ready, __ATOMIC_ACQUIRE) != 1)
        return "never finished";
    return NULL;
}

/* `count` records of `size_bytes`, each with a header; the first one's is verified.  NULL after fail(). */
static void *map_file(const char *name, int protection, enum gs_file_kind kind, size_t size_bytes,
                      size_t count, struct identity *identity)
{
    int fd = open_file(name, protection & PROT_WRITE ? O_RDWR : O_RDONLY);
    off_t actual_bytes = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
    void *map = MAP_FAILED;
    const char *wrong;

    if (actual_bytes >= (off_t)sizeof(struct gs_header))
        map = mmap(NULL, size_bytes * count, protection, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED || identify(fd, identity))
        wrong = actual_bytes < 0 ? strerror(errno) : "damaged: too short, or cannot be mapped";
    else if (!(wrong = what_is_wrong(map, kind, size_bytes)) && actual_bytes != (off_t)(size_bytes * count))
        wrong = "damaged: it has another size than its header states";
    if (fd >= 0)
        close(fd);
    if (!wrong)
        return map;
    fail(name, wrong);
    if (map != MAP_FAILED)
        munmap(map, size_bytes * count);
    return NULL;
}

int gs_region_asked(void)
{
    return gs_asked(GS_ASKED_TENANT) || access(SELF_DIR "/limits", F_OK) == 0 ||
           gs_handover_offered(SELF_DIR) || gs_preloaded_by_file();
}

/* NOT_ASKED where no limit is asked for, UNKNOWN once the directory is. */
static enum state find_directory(void)
{
    const char *named = gs_asked(GS_ASKED_TENANT);
    int fd;

    is_handed_over = 0;
    strcpy(directory, SELF_DIR);
    fd = open_file("limits", O_RDONLY);
    if (fd >= 0)
        close(fd);
    if (fd >= 0 || gs_handover_offered(SELF_DIR))
        return UNKNOWN;
    if (named) {
        if (strlen(named) >= sizeof directory)
            directory[0] = '\0'; /* opens nothing, and so fails with a reason */
        else
            strcpy(directory, named);
        if (!gs_preloaded_by_file() || gs_is_roots(directory))
            return UNKNOWN;
    } else if (!gs_preloaded_by_file()) {
        return NOT_ASKED;
    }
    snprintf(failure, sizeof failure,
             "/etc/ld.so.preload: no tenant is mounted at " SELF_DIR " (" WAY_OUT " --strict)");
    return FAILED;
}

/* NULL after fail(). */
static void *map_activity(void)
{
    const size_t tenants = GS_MAX_TENANTS;
    struct identity identity;
    const char *wrong;
    void *activity;

    if (!is_handed_over)
        return map_file("activity", PROT_READ | PROT_WRITE, GS_FILE_ACTIVITY, sizeof(struct gs_activity),
                        tenants, &identity);
    wrong = gs_handover_map_activity(&taken, &activity);
    if (!wrong)
        return activity;
    fail(GS_HANDOVER_SOCKET, wrong);
    return NULL;
}

static int is_sound(const struct gs_limits *limits)
{
    if (limits->tenant_index >= GS_MAX_TENANTS || limits->device_count > GS_MAX_DEVICES)
        return 0;
    return !is_handed_over || limits->tenant_index / GS_SEGMENT_TENANTS == taken.own_segment_index;
}

static int map_all(void)
{
    struct identity identity;
    struct gs_region new = {0};
    const size_t tenants = GS_MAX_TENANTS;
    void *activity;

    new.limits = map_file("limits", PROT_READ, GS_FILE_LIMITS, sizeof *new.limits, 1, &identity);
    if (!new.limits)
        return 0;
    new.usage =
        map_file("usage", PROT_READ | PROT_WRITE, GS_FILE_USAGE, sizeof *new.usage, 1, &usage_identity);
    if (new.usage) {
        activity = map_activity();
        new.activity = activity;
        if (activity && is_sound(new.limits)) {
            new.own_activity = (struct gs_activity *)activity + new.limits->tenant_index;
            region = new;
            return 1;
        }
        if (activity) {
            fail("limits", "damaged: it names a tenant or a device that cannot be");
            munmap(activity, tenants * sizeof *new.activity);
        }
        munmap(new.usage, sizeof *new.usage);
    }
    munmap((void *)new.limits, sizeof *new.limits);
    return 0;
}

static void take_over_slot(uint32_t slot)
{
    struct gs_slot *own = &region.usage->slot[slot];

    gs_quota_clean_slot(region.usage, slot); /* its last owner may have died holding memory */
    for (uint32_t i = 0; i < GS_ROWS; i++) {
        own->device[i].gpu_ns = 0;
        own->device[i].launches = 0;
        own->device[i].throttled_ns = 0;
        own->device[i].denied = 0;
    }
    own->start_ticks = gs_own_start_ticks();
    own->pid_space = gs_own_pid_space();
    gs_slot_note_claimed(region.usage, slot); /* before anything is held */
    __atomic_store_n(&own->pid, (uint32_t)getpid(), __ATOMIC_RELEASE);
    region.slot = slot;
    region.own = own;
}

static int take_over(void)
{
    const char *wrong = gs_handover_take(directory, &taken);

    if (wrong)
        fail(GS_HANDOVER_SOCKET, wrong);
    holds_taken = !wrong;
    return holds_taken;
}

static void let_go(void)
{
    if (holds_taken)
        gs_handover_close(&taken);
    holds_taken = 0;
}

/* The file that is mapped, by its name; -1 after fail(). */
static int reopen_usage(void)
{
    struct identity identity;
    int fd;

    if (is_handed_over && !holds_taken && !take_over())
        return -1;
    fd = open_file("usage", O_RDWR);
    if (fd < 0 || identify(fd, &identity))
        fail("usage", strerror(errno));
    else if (identity.device != usage_identity.device || identity.inode != usage_identity.inode)
        fail("usage", "replaced while this program runs");
    else
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

static int claim(int fd, uint32_t slot)
{
    int error = gs_slot_take(fd, slot);

    if (error)
        return error;
    error = gs_slot_keep_locks(fd);
    if (!error) {
        take_over_slot(slot);
        gs_slot_own(fd, slot);
    }
    return error;
}

static int claim_slot(void)
{
    /* Neighbours in time start at neighbouring slots, and seldom collide; a few processes stay among the first slots,
     * so that a few are all that anybody has to look at. */
    const uint32_t together = 64;
    uint32_t start = (uint32_t)getpid();
    int fd = reopen_usage();
    int error = GS_SLOT_TAKEN;

    if (fd < 0)
        return 0;
    for (uint32_t i = 0; i < GS_MAX_SLOTS && error == GS_SLOT_TAKEN; i++)
        error = claim(fd, i / together * together + (start + i) % together);
    close(fd);
    if (error == GS_SLOT_TAKEN)
        fail("usage", "all slots are taken: too many programs of this tenant use the GPU");
    else if (error)
        fail("usage", strerror(error));
    return !error;
}

/* Maps, once. */
static void look(void)
{
    if (state == NOT_ASKED || state == MAPPED)
        return;
    state = find_directory();
    if (state != UNKNOWN)
        return;
    is_handed_over = gs_handover_offered(directory);
    state = (!is_handed_over || take_over()) && map_all() ? MAPPED : FAILED;
}

const struct gs_region *gs_region_open(void)
{
    const struct gs_region *result;

    pthread_mutex_lock(&lock);
    if (gs_region_mapped == &gs_region_unknown) {
        look();
        let_go(); /* the slot's locks are on a file opened anew: what is mapped lives on in a forked child */
        result = NULL;
        if (state == MAPPED && claim_slot())
            result = &region;
        let_go();
        __atomic_store_n(&gs_region_mapped, result, __ATOMIC_RELEASE);
    }
    result = gs_region_mapped;
    pthread_mutex_unlock(&lock);
    return result;
}

const struct gs_region *gs_region_view(void)
{
    const struct gs_region *result;

    pthread_mutex_lock(&lock);
    look();
    let_go();
    result = state == MAPPED ? &region : NULL;
    pthread_mutex_unlock(&lock);
    return result;
}

CUresult gs_region_check(void)
{
    int tell;

    if (gs_region())
        return CUDA_SUCCESS;
    pthread_mutex_lock(&lock);
    if (state == NOT_ASKED) {
        pthread_mutex_unlock(&lock);
        return CUDA_SUCCESS;
    }
    __atomic_store_n(&gs_region_mapped, &gs_region_unknown, __ATOMIC_RELEASE);
    tell = !failure_is_told;
    failure_is_told = 1;
    pthread_mutex_unlock(&lock);
    if (tell)
        gs_log("%s", failure);
    return CUDA_ERROR_NOT_PERMITTED;
}

void gs_region_with_dead_slots(const uint64_t slots[GS_MAX_SLOTS / 64],
                               void (*work)(struct gs_usage *usage, uint32_t slot))
{
    int patience = 200;
    int fd;

    pthread_mutex_lock(&lock);
    fd = reopen_usage();
    for (uint32_t i = 0; i < GS_MAX_SLOTS / 64 && fd >= 0; i++)
        for (uint64_t left = slots[i]; left; left &= left - 1) {
            uint32_t slot = 64 * i + (uint32_t)__builtin_ctzll(left);

            if (gs_slot_take_dead(fd, slot, &patience))
                continue;
            work(region.usage, slot);
            gs_slot_let_go(fd, slot);
        }
    if (fd >= 0)
        close(fd);
    let_go();
    pthread_mutex_unlock(&lock);
}

void gs_region_before_fork(void)
{
    pthread_mutex_lock(&lock);
}

void gs_region_after_fork(int in_child)
{
    if (in_child) {
        region.own = NULL;
        gs_region_mapped = &gs_region_unknown;
    }
    pthread_mutex_unlock(&lock);
}
