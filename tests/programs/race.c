/* race.c -- many threads make a program's first CUDA call at once, then its fork's child makes its own first call.
 * Prints how many calls succeeded, how many functions the threads saw, and how the child ended. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#define THREADS 16

typedef int init(unsigned flags);

static pthread_barrier_t barrier;
static init *found[THREADS];

static void *first_call(void *argument)
{
    init **slot = argument;
    void *driver;

    pthread_barrier_wait(&barrier);
    driver = dlopen("libcuda.so.1", RTLD_LAZY);
    *slot = driver ? (init *)dlsym(driver, "cuInit") : NULL;
    return (void *)(long)(*slot ? (*slot)(0) : -1);
}

int main(void)
{
    pthread_t threads[THREADS];
    int succeeded = 0, same = 0, status = -1;
    pid_t child;

    pthread_barrier_init(&barrier, NULL, THREADS);
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, first_call, &found[i]);
    child = fork(); /* while they are at it */
    if (child == 0) {
        void *driver = dlopen("libcuda.so.1", RTLD_LAZY);
        init *call = driver ? (init *)dlsym(driver, "cuInit") : NULL;

        _exit(call ? call(0) : 99);
    }
    for (int i = 0; i < THREADS; i++) {
        void *result;

        pthread_join(threads[i], &result);
        succeeded += result == NULL;
    }
    for (int i = 0; i < THREADS; i++)
        same += found[i] == found[0];
    waitpid(child, &status, 0);
    printf("%d of %d succeeded, %d found the same, child %d\n", succeeded, THREADS, same, status);
    return 0;
}
