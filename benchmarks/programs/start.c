/* start.c -- how long a program takes from its start to its first context: `start COUNT` starts itself so many times
 * and prints the nanoseconds of each. */
#define _GNU_SOURCE
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;
int cuInit(unsigned flags);
int cuDevicePrimaryCtxRetain(void **context, int device);

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* The child says so on descriptor 1. */
static int first_context(void)
{
    void *context;
    if (cuInit(0) || cuDevicePrimaryCtxRetain(&context, 0))
        return 1;
    return write(STDOUT_FILENO, "", 1) != 1;
}

/* Negative: it did not get that far. */
static int64_t start_ns(char *program)
{
    int said[2], status;
    char byte, *argv[] = {program, "child", NULL};
    pid_t child;
    posix_spawn_file_actions_t actions;
    if (pipe(said) != 0)
        return -1;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, said[1], STDOUT_FILENO);
    posix_spawn_file_actions_addclose(&actions, said[0]);
    posix_spawn_file_actions_addclose(&actions, said[1]);
    int64_t begin = now_ns();
    int failed = posix_spawn(&child, program, &actions, NULL, argv, environ);
    close(said[1]);
    int64_t taken = !failed && read(said[0], &byte, 1) == 1 ? now_ns() - begin : -1;
    if (!failed)
        waitpid(child, &status, 0);
    close(said[0]);
    posix_spawn_file_actions_destroy(&actions);
    return taken;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "child") == 0)
        return first_context();
    long count = argc > 1 ? strtol(argv[1], NULL, 10) : 1;
    start_ns("/proc/self/exe"); /* makes the machine, if there is none, and does not count */
    for (long i = 0; i < count; i++)
        printf("%lld\n", (long long)start_ns("/proc/self/exe"));
    return 0;
}
