/* quota_kills.c -- processes that reserve and release without end, killed at random moments.
 *
 * quota_kills KILLS PROCESSES SEED MS, with GSHARE_TENANT_DIR set.  Linked with the shim's own quota.c and region.c, and
 * with nothing of a driver.  After every kill one that is not killed asks for all there is: it is answered within MS,
 * and from then on the dead one's slot holds nothing.  What living and dead slots hold is what the total says, and the
 * total is within the limit.  At the end the survivors have what they think they have, kind by kind, and a last process
 * finds the whole quota free. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "atomic16.h"
#include "quota.h"
#include "region.h"

#define MOST_PROCESSES 16

#define QUESTIONS 10

#define DEVICES 2
#define KINDS   2

/* Of all processes. */
static volatile struct shared {
    uint64_t changes; /* so that a run that does nothing is noticed */
    int enough;
} * shared;

static struct asker {
    pid_t pid;
    int question, answer; /* pipes' ends */
    uint64_t longest_ns, longest_wall_ns;
} asker;

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* For how long this process could have run and had no core. */
static uint64_t without_core_ns(void)
{
    FILE *file = fopen("/proc/self/schedstat", "r");
    unsigned long ran, waited = 0;

    if (file && fscanf(file, "%lu %lu", &ran, &waited) != 2)
        waited = 0;
    if (file)
        fclose(file);
    return waited;
}

static const struct gs_slot_device *effective(const struct gs_usage *usage, uint32_t slot, int device,
                                              uint64_t *held)
{
    const struct gs_slot_device *own = &usage->slot[slot].device[device];
    uint64_t last = gs_total_read(&usage->device[device].total).last;
    int took_effect = last == ((uint64_t)slot << 48 | own->sequence) || own->applied >= own->sequence;

    *held = own->held_bytes[(own->sequence - !took_effect) & 1];
    return own;
}

/* Reserves and releases until killed, or told that it is enough.  Each child claims a slot of its own, as its parent
 * has mapped nothing. */
static int work(unsigned int seed)
{
    const struct gs_region *region = gs_region();
    uint64_t held[8] = {0}, sum[DEVICES][KINDS] = {{0}};

    if (!region)
        return 2;
    while (!shared->enough) {
        int i = rand_r(&seed) % 8;
        int device = i % DEVICES;
        uint32_t kind = (uint32_t)i / DEVICES % KINDS;

        if (held[i]) {
            gs_quota_release(device, kind, held[i]);
            held[i] = 0;
        } else {
            uint64_t bytes = 1 + (uint64_t)rand_r(&seed) % 300;

            if (gs_quota_reserve(device, kind, bytes))
                held[i] = bytes;
        }
        __atomic_fetch_add(&shared->changes, 1, __ATOMIC_RELAXED);
    }
    for (int i = 0; i < 8; i++)
        sum[i % DEVICES][i / DEVICES % KINDS] += held[i];
    for (int device = 0; device < DEVICES; device++) {
        uint64_t all;
        const struct gs_slot_device *own = effective(region->usage, region->slot, device, &all);

        if (all != sum[device][0] + sum[device][1] || own->charged_bytes[0] != sum[device][0] ||
            own->charged_bytes[1] != sum[device][1])
            return 3;
    }
    return 0;
}

/* Asks for all of both devices whenever it is asked to, once, and tells how long that took. */
static int ask(int question, int answer)
{
    const struct gs_region *region = gs_region();
    char byte;

    while (region && read(question, &byte, 1) == 1) {
        uint64_t waited = without_core_ns(), begin = now_ns();
        uint64_t took[2];

        for (int device = 0; device < DEVICES; device++) {
            uint64_t limit = region->limits->device[device].memory_limit_bytes;

            if (gs_quota_reserve(device, GS_LINEAR, limit))
                gs_quota_release(device, GS_LINEAR, limit);
        }
        took[0] = now_ns() - begin;
        waited = without_core_ns() - waited;
        took[1] = took[0] > waited ? took[0] - waited : 0;
        if (write(answer, took, sizeof took) != sizeof took)
            return 1;
    }
    return region ? 0 : 2;
}

static void start_asker(void)
{
    int question[2], answer[2];

    if (pipe(question) || pipe(answer))
        _exit(9);
    asker.pid = fork();
    if (asker.pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(question[1]);
        _exit(ask(question[0], answer[1]));
    }
    close(question[0]);
    close(answer[1]);
    asker.question = question[1];
    asker.answer = answer[0];
}

static uint64_t held_by(const struct gs_usage *usage, pid_t dead)
{
    uint64_t sum = 0, held;

    for (uint32_t slot = 0; slot < GS_MAX_SLOTS; slot++)
        for (int device = 0; device < DEVICES && usage->slot[slot].pid == (uint32_t)dead; device++) {
            effective(usage, slot, device, &held);
            sum += usage->slot[slot].pid == (uint32_t)dead ? held : 0;
        }
    return sum;
}

/* Whether what the dead one held is back after a single question; or some more, where another process is at it just then
 * and has no core: nobody waits for that one for long. */
static int is_back(const struct gs_usage *usage, pid_t dead)
{
    for (int question = 0; question < QUESTIONS; question++) {
        uint64_t took[2], held;

        if (write(asker.question, "", 1) != 1 || read(asker.answer, took, sizeof took) != sizeof took)
            return 0;
        asker.longest_wall_ns = took[0] > asker.longest_wall_ns ? took[0] : asker.longest_wall_ns;
        asker.longest_ns = took[1] > asker.longest_ns ? took[1] : asker.longest_ns;
        held = held_by(usage, dead);
        if (held == 0)
            return 1;
        printf("question %d: a dead process still holds %lu\n", question + 1, held);
    }
    return 0;
}

static pid_t begin(unsigned int seed)
{
    pid_t pid = fork();

    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* also where a check fails */
        close(asker.question);            /* its end is for the one to hear */
        _exit(work(seed));
    }
    return pid;
}

/* Stopped processes change nothing: the sums must agree to the byte. */
static int sums_agree(const struct gs_usage *usage, const struct gs_limits *limits)
{
    for (int device = 0; device < DEVICES; device++) {
        struct gs_total total = gs_total_read(&usage->device[device].total);
        uint64_t sum = 0;

        for (uint32_t slot = 0; slot < GS_MAX_SLOTS; slot++) {
            uint64_t held;

            effective(usage, slot, device, &held);
            sum += held;
            if (held && !(usage->claimed[slot / 64] >> slot % 64 & 1)) {
                printf("slot %u holds %lu, and nobody would look\n", slot, held);
                return 0;
            }
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

    for (int device = 0; region && device < DEVICES; device++) {
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
    uint64_t most_ns = argc > 4 ? strtoul(argv[4], NULL, 10) * 1000000 : 50000000;
    pid_t pids[MOST_PROCESSES];
    struct gs_usage *usage;
    struct gs_limits *limits;
    char path[4096];
    FILE *file;

    shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    snprintf(path, sizeof path, "%s/usage", getenv("GSHARE_TENANT_DIR"));
    file = fopen(path, "r");
    usage = mmap(NULL, sizeof *usage, PROT_READ, MAP_SHARED, fileno(file), 0);
    snprintf(path, sizeof path, "%s/limits", getenv("GSHARE_TENANT_DIR"));
    file = fopen(path, "r");
    limits = mmap(NULL, sizeof *limits, PROT_READ, MAP_SHARED, fileno(file), 0);

    start_asker();
    for (int i = 0; i < processes; i++)
        pids[i] = begin(seed * 1000 + i);
    for (int i = 0; i < kills; i++) {
        int victim = rand_r(&seed) % processes;
        uint64_t until = now_ns() + rand_r(&seed) % 2000000;

        while (now_ns() < until)
            usleep(50);
        kill(pids[victim], SIGKILL);
        waitpid(pids[victim], NULL, 0);
        if (!is_back(usage, pids[victim]))
            return 1;
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
    shared->enough = 1;
    for (int i = 0; i < processes; i++) {
        int status;

        waitpid(pids[i], &status, 0);
        if (status) {
            printf("a process that was not killed ended with %d\n", WEXITSTATUS(status));
            return 1;
        }
    }
    close(asker.question);
    waitpid(asker.pid, NULL, 0);
    if (!sums_agree(usage, limits) || !last_one_finds_all_free())
        return 1;
    printf("%d kills among %lu changes; longest wait %.3f ms, %.3f ms of it with a core\n", kills,
           shared->changes, (double)asker.longest_wall_ns / 1e6, (double)asker.longest_ns / 1e6);
    return shared->changes <= (uint64_t)kills ? 3 : asker.longest_ns > most_ns ? 4 : 0;
}
