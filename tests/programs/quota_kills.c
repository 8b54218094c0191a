/* quota_kills.c -- processes that reserve and release without end, killed at random moments.
 *
 * quota_kills KILLS PROCESSES SEED, with GSHARE_TENANT_DIR set.  Linked with the shim's own quota.c and region.c, and
 * with nothing of a driver.  After every kill: what living and dead slots hold is what the total says, and the total is
 * within the limit.  At the end the survivors stop, and a last process finds the whole quota free. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "atomic16.h"
#include "quota.h"
#include "region.h"

#define MOST_PROCESSES 16

static volatile uint64_t *changes; /* made by all processes, so that a run that does nothing is noticed */

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Reserves and releases until killed.  Each child claims a slot of its own, as its parent has mapped nothing. */
static void work(unsigned int seed)
{
    uint64_t held[8] = {0};

    if (!gs_region())
        _exit(2);
    for (;;) {
        int i = rand_r(&seed) % 8;
        int device = i % 2;

        if (held[i]) {
            gs_quota_release(device, GS_LINEAR, held[i]);
            held[i] = 0;
        } else {
            uint64_t bytes = 1 + (uint64_t)rand_r(&seed) % 300;

            if (gs_quota_reserve(device, GS_LINEAR, bytes))
                held[i] = bytes;
        }
        __atomic_fetch_add(changes, 1, __ATOMIC_RELAXED);
    }
}

static pid_t begin(unsigned int seed)
{
    pid_t pid = fork();

    if (pid == 0) {
        work(seed);
        _exit(0);
    }
    return pid;
}

/* Stopped processes change nothing: the sums must agree to the byte. */
static int sums_agree(const struct gs_usage *usage, const struct gs_limits *limits)
{
    for (int device = 0; device < 2; device++) {
        struct gs_total total = gs_total_read(&usage->device[device].total);
        uint64_t sum = 0;

        for (uint32_t slot = 0; slot < GS_MAX_SLOTS; slot++) {
            const struct gs_slot_device *own = &usage->slot[slot].device[device];
            int took_effect =
                total.last == ((uint64_t)slot << 48 | own->sequence) || own->applied >= own->sequence;

            sum += own->held_bytes[(own->sequence - !took_effect) & 1];
        }
        if (sum != total.used_bytes || total.used_bytes > limits->device[device].memory_limit_bytes) {
            printf("device %d: slots hold %lu, the total says %lu\n", device, sum, total.used_bytes);
            return 0;
        }
    }
    return 1;
}

static int last_one_finds_all_free(void)
{
    const struct gs_region *region = gs_region();

    for (int device = 0; region && device < 2; device++) {
        uint64_t limit = region->limits->device[device].memory_limit_bytes;

        if (!gs_quota_reserve(device, GS_LINEAR, limit) || gs_quota_reserve(device, GS_LINEAR, 1))
            return 0;
        gs_quota_release(device, GS_LINEAR, limit);
        if (gs_quota_used(device) != 0)
            return 0;
    }
    return region != NULL;
}

int main(int argc, char **argv)
{
    int kills = argc > 1 ? atoi(argv[1]) : 300;
    int processes = argc > 2 ? atoi(argv[2]) : 3;
    unsigned int seed = argc > 3 ? (unsigned int)atoi(argv[3]) : 1;
    pid_t pids[MOST_PROCESSES];
    struct gs_usage *usage;
    struct gs_limits *limits;
    char path[4096];
    FILE *file;

    changes = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    snprintf(path, sizeof path, "%s/usage", getenv("GSHARE_TENANT_DIR"));
    file = fopen(path, "r");
    usage = mmap(NULL, sizeof *usage, PROT_READ, MAP_SHARED, fileno(file), 0);
    snprintf(path, sizeof path, "%s/limits", getenv("GSHARE_TENANT_DIR"));
    file = fopen(path, "r");
    limits = mmap(NULL, sizeof *limits, PROT_READ, MAP_SHARED, fileno(file), 0);

    for (int i = 0; i < processes; i++)
        pids[i] = begin(seed * 1000 + i);
    for (int i = 0; i < kills; i++) {
        int victim = rand_r(&seed) % processes;
        uint64_t until = now_ns() + rand_r(&seed) % 2000000;

        while (now_ns() < until)
            usleep(50);
        kill(pids[victim], SIGKILL);
        waitpid(pids[victim], NULL, 0);
        if (i % 10 == 0) {
            for (int j = 0; j < processes; j++)
                if (j != victim && kill(pids[j], SIGSTOP) == 0)
                    waitpid(pids[j], NULL, WUNTRACED);
            if (!sums_agree(usage, limits))
                return 1;
            for (int j = 0; j < processes; j++)
                if (j != victim)
                    kill(pids[j], SIGCONT);
        }
        pids[victim] = begin(seed + i);
    }
    for (int i = 0; i < processes; i++) {
        kill(pids[i], SIGKILL);
        waitpid(pids[i], NULL, 0);
    }
    if (!sums_agree(usage, limits) || !last_one_finds_all_free())
        return 1;
    printf("%lu changes\n", *changes);
    return *changes > (uint64_t)kills ? 0 : 3;
}
