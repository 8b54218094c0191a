/* guest.c -- says what a preloaded library could have changed in its process: threads, descriptors, signals, modes,
 * and whether a driver is loaded.  With an argument it first uses that NVML as a monitoring tool does. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void list(const char *folder)
{
    DIR *directory = opendir(folder);
    struct dirent *entry;
    int entries = 0;

    while (directory && (entry = readdir(directory)))
        entries += entry->d_name[0] != '.';
    printf("%s: %d\n", folder, entries);
    if (directory)
        closedir(directory);
}

static void print_driver(void)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[512];
    int found = 0;

    while (maps && fgets(line, sizeof line, maps))
        found |= strstr(line, "libcuda") != NULL;
    if (maps)
        fclose(maps);
    printf("driver: %s\n", found ? "loaded" : "not loaded");
}

static void use_nvml(const char *file)
{
    static const char *const calls[] = {"nvmlInit_v2", "nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetUUID",
                                        "nvmlDeviceGetUtilizationRates", "nvmlShutdown"};
    void *nvml = dlopen(file, RTLD_LAZY);

    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        int (*call)(long, long, long) = nvml ? (int (*)(long, long, long))dlsym(nvml, calls[i]) : NULL;

        printf("%s: %d\n", calls[i], call ? call(0, 0, 0) : -1);
    }
}

int main(int argc, char **argv)
{
    const mode_t mask = umask(0);
    sigset_t blocked;

    if (argc > 1)
        use_nvml(argv[1]);
    list("/proc/self/task");
    list("/proc/self/fd");
    sigprocmask(SIG_SETMASK, NULL, &blocked);
    for (int signal = 1; signal < NSIG; signal++) {
        struct sigaction action;

        if (sigismember(&blocked, signal) == 1)
            printf("signal %d is blocked\n", signal);
        if (sigaction(signal, NULL, &action) == 0 && action.sa_handler != SIG_DFL)
            printf("signal %d has a handler\n", signal);
    }
    printf("umask %o, locale %s, pending error %s\n", mask, setlocale(LC_ALL, NULL),
           dlerror() ? "yes" : "no");
    print_driver();
    return 0;
}
