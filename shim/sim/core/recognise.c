/* recognise.c -- is this file the machine it should be, who uses it, and does it fit on the disk? */
#define _GNU_SOURCE
#include "recognise.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define PAGE 4096ull

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

static const char truncated[] = "truncated", corrupt[] = "corrupt";
static const char older[] = "left over from before this computer was started";

void sim_read_line(const char *path, char *line, unsigned size)
{
    FILE *file = fopen(path, "re");
    size_t length = file ? fread(line, 1, size - 1, file) : 0;
    if (file)
        fclose(file);
    line[length] = '\0';
    line[strcspn(line, "\n")] = '\0';
}

void sim_read_boot_id(char *id, unsigned size)
{
    sim_read_line("/proc/sys/kernel/random/boot_id", id, size);
}

const char *sim_file_wrong(int fd)
{
    struct {
        uint64_t magic;
        uint32_t version, ready;
        uint64_t size_bytes;
    } head = {0};
    struct stat st;
    if (fstat(fd, &st) != 0)
        return strerror(errno);
    if (st.st_size == 0)
        return "empty";
    if (pread(fd, &head, sizeof(head), 0) < (ssize_t)sizeof(head.magic) || head.magic != SIM_MAGIC)
        return "not a simulated machine";
    if (st.st_size < (off_t)sizeof(head))
        return truncated;
    if (head.version != SIM_VERSION || head.size_bytes != sizeof(struct sim_machine))
        return "made by another version of the simulator";
    if (st.st_size != (off_t)sizeof(struct sim_machine))
        return truncated;
    return head.ready ? NULL : "half made";
}

bool sim_file_is_anothers(const char *path, int fd, char *why, unsigned why_size)
{
    static const char advice[] = "set SIMGPU_MACHINE to a path of your own";
    char folder[4096];
    struct stat st;
    if ((fd >= 0 ? fstat(fd, &st) : stat(path, &st)) == 0) {
        if (st.st_uid == geteuid() || (st.st_uid == 0 && st.st_mode & S_IWOTH)) /* root's, given to all */
            return false;
        snprintf(why, why_size, "%s: user %u's, and not shared between users (%s)", path, (unsigned)st.st_uid,
                 advice);
        return true;
    }
    snprintf(folder, sizeof(folder), "%s", path);
    char *slash = strrchr(folder, '/');
    if (!slash || slash == folder)
        return false;
    *slash = '\0';
    if (stat(folder, &st) != 0 || st.st_uid == geteuid())
        return false;
    snprintf(why, why_size, "%s: its folder is user %u's (%s)", path, (unsigned)st.st_uid, advice);
    return true;
}

static bool lists_in_range(const struct sim_machine *m)
{
    for (uint32_t i = 0; i < m->live_count; i++)
        if (m->live[i] == 0 || m->live[i] > SIM_MAX_PROCESSES)
            return false;
    for (uint32_t c = 0; c <= m->contexts_made; c++) {
        const struct sim_shared_context *ctx = &m->context[c];
        if (ctx->next > SIM_MAX_CONTEXTS || ctx->first > SIM_MAX_STREAMS ||
            ctx->process > SIM_MAX_PROCESSES || ctx->device >= SIM_MAX_DEVICES ||
            ctx->mate > SIM_MAX_CONTEXTS)
            return false;
    }
    for (uint32_t q = 0; q <= m->queues_made; q++)
        if (m->queue[q].next > SIM_MAX_STREAMS || m->queue[q].context > SIM_MAX_CONTEXTS ||
            m->queue[q].next_blocked > SIM_MAX_STREAMS)
            return false;
    return true;
}

/* Bytes that no machine ever has, even while somebody changes it. */
const char *sim_machine_wrong(const struct sim_machine *m)
{
    char boot_id[sizeof(m->boot_id)];
    sim_read_boot_id(boot_id, sizeof(boot_id));
    if (strncmp(boot_id, m->boot_id, sizeof(boot_id)) != 0)
        return older;
    if (m->device_count == 0 || m->device_count > SIM_MAX_DEVICES || m->slice_ns == 0 || m->sample_ns == 0 ||
        m->live_count > SIM_MAX_LIVE || m->contexts_made > SIM_MAX_CONTEXTS ||
        m->queues_made > SIM_MAX_STREAMS || m->journal_count > SIM_JOURNAL ||
        m->first_blocked > SIM_MAX_STREAMS)
        return corrupt;
    for (uint32_t d = 0; d < m->device_count; d++)
        if (m->device[d].profile.sm_count == 0 || m->device[d].profile.sm_count > SIM_MAX_SMS ||
            m->device[d].first_context > SIM_MAX_CONTEXTS || m->device[d].current > SIM_MAX_CONTEXTS ||
            m->device[d].used_bytes > m->device[d].profile.memory_bytes)
            return corrupt;
    return lists_in_range(m) ? NULL : corrupt;
}

bool sim_file_expendable(const char *path, int fd)
{
    char usual[64];
    uint64_t magic = 0;
    ssize_t length = pread(fd, &magic, sizeof(magic), 0);
    snprintf(usual, sizeof(usual), "/dev/shm/simgpu-%u/machine", (unsigned)getuid());
    return length == 0 || magic == SIM_MAGIC || strcmp(path, usual) == 0;
}

/* -------- who uses it -------- */

static bool maps_it(const char *pid, const char *path, const struct stat *st)
{
    char name[64], line[4400];
    snprintf(name, sizeof(name), "/proc/%s/maps", pid);
    FILE *file = fopen(name, "re");
    bool found = false;
    while (file && !found && fgets(line, sizeof(line), file)) {
        unsigned major, minor;
        unsigned long inode;
        int at = 0;
        if (sscanf(line, "%*s %*s %*s %x:%x %lu %n", &major, &minor, &inode, &at) < 3)
            continue;
        line[strcspn(line, "\n")] = '\0';
        /* Some file systems show another device there than stat does. */
        found = inode == st->st_ino && (makedev(major, minor) == st->st_dev || strcmp(line + at, path) == 0);
    }
    if (file)
        fclose(file);
    return found;
}

void sim_file_users(const char *path, int fd, char *users, unsigned size)
{
    struct stat st;
    struct dirent *entry;
    unsigned used = 0;
    DIR *all = opendir("/proc");
    users[0] = '\0';
    while (all && fstat(fd, &st) == 0 && (entry = readdir(all))) {
        if (strspn(entry->d_name, "0123456789") != strlen(entry->d_name) ||
            !maps_it(entry->d_name, path, &st))
            continue;
        if (used + strlen(entry->d_name) + 8 > size) {
            snprintf(users + used, size - used, ", ...");
            break;
        }
        used += (unsigned)snprintf(users + used, size - used, "%s%s", used ? ", " : "", entry->d_name);
    }
    if (all)
        closedir(all);
}

/* -------- room -------- */

/* Kernels before 5.14 cannot say: there a full disk is found out when it is too late. */
bool sim_have_room(const void *start, uint64_t bytes)
{
    uint64_t first = (uint64_t)start & ~(PAGE - 1), end = ((uint64_t)start + bytes + PAGE - 1) & ~(PAGE - 1);
    return madvise((void *)first, end - first, MADV_POPULATE_WRITE) == 0 || errno == EINVAL;
}
