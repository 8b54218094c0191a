/* main.c -- writes down what the driver at hand answers, or with --timings how long things take on it. */
#define _GNU_SOURCE
#include "recorder.h"
#include "report.h"
#include "timings.h"

#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define GROUP_S 25.0 /* each attempt at a group; some make thirty contexts */
#define TOTAL_S 90.0 /* after this no attempt begins */

struct identity *identity;

/* What a user sets for programs, and what would change the answers. */
static void plain_environment(void)
{
    static const char *const names[] = {"CUDA_MODULE_LOADING",  "CUDA_LAUNCH_BLOCKING",
                                        "CUDA_FORCE_PTX_JIT",   "CUDA_DEVICE_MAX_CONNECTIONS",
                                        "CUDA_DISABLE_PTX_JIT", "CUDA_MODULE_DATA_LOADING",
                                        "CUDA_AUTO_BOOST"};
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        unsetenv(names[i]);
}

static void *shared(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

static void identify(void)
{
    size_t bytes = 0;
    DO(cuDriverGetVersion, A(identity->driver_version));
    identity->init_code = DO(cuInit, 0);
    if (identity->init_code != 0)
        return;
    DO(cuDeviceGetName, P(identity->device), sizeof(identity->device), 0);
    DO(cuDeviceGetAttribute, A(identity->major), 75, 0);
    DO(cuDeviceGetAttribute, A(identity->minor), 76, 0);
    DO(cuDeviceTotalMem_v2, A(bytes), 0);
    identity->memory_bytes = bytes;
}

static int in_process(void (*run)(void))
{
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        run();
        _exit(0);
    }
    return child < 0 || waitpid(child, &status, 0) < 0 ? -1 : status;
}

static int record(FILE *out, const char *only, double limit_s, double total_s)
{
    struct ending *endings = calloc(group_count, sizeof(*endings));
    uint64_t until_ns = now_ns() + (uint64_t)(total_s * 1e9);
    if (!endings)
        return 1;
    for (unsigned i = 0; i < group_count; i++) {
        if (only && strcmp(groups[i].name, only) != 0)
            snprintf(endings[i].how, sizeof(endings[i].how), "not asked for");
        else if (identity->init_code != 0 && !groups[i].bare)
            snprintf(endings[i].how, sizeof(endings[i].how), "no device");
        else if (now_ns() > until_ns)
            snprintf(endings[i].how, sizeof(endings[i].how), "no time left");
        else
            run_group(&groups[i], limit_s, until_ns, &endings[i]);
    }
    report_rows(out, identity, endings);
    free(endings);
    return 0;
}

static int usage(void)
{
    fprintf(stderr,
            "usage: recorder [--timings] [--group NAME] [--limit SECONDS] [--total SECONDS] OUT.json\n");
    return 64;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"timings", no_argument, NULL, 't'},
                                            {"group", required_argument, NULL, 'g'},
                                            {"limit", required_argument, NULL, 'l'},
                                            {"total", required_argument, NULL, 'a'},
                                            {0}};
    const char *only = NULL;
    bool timings = false;
    double limit_s = GROUP_S, total_s = TOTAL_S;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;)
        if (option == 't')
            timings = true;
        else if (option == 'g')
            only = optarg;
        else if (option == 'l')
            limit_s = atof(optarg);
        else if (option == 'a')
            total_s = atof(optarg);
        else
            return usage();
    if (optind != argc - 1)
        return usage();
    plain_environment();
    /* A GPU that no process holds is set up anew for each: holding it saves a second a group. */
    int held = open("/dev/nvidia0", O_RDWR | O_CLOEXEC);
    identity = shared(sizeof(*identity));
    book = shared(sizeof(*book));
    FILE *out = fopen(argv[optind], "w");
    if (!out || !book || !identity || in_process(identify) != 0) {
        fprintf(stderr, "recorder: %s\n", out ? "the driver cannot be asked" : argv[optind]);
        return 1;
    }
    if (timings && identity->init_code != 0) {
        fprintf(stderr, "recorder: cuInit: %d\n", identity->init_code);
        return 1;
    }
    int result = timings ? record_timings(out, identity, only) : record(out, only, limit_s, total_s);
    if (fclose(out) != 0)
        result = 1;
    if (held >= 0)
        close(held);
    return result;
}
