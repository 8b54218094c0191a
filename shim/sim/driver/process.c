/* process.c -- this process as a client of the machine: cuInit, visible devices, fork, exit. */
#include "process.h"
#include "profile.h"

#include <pthread.h>
#include <stdio.h>

struct sim_driver sim_driver;

static pthread_mutex_t init_lock = PTHREAD_MUTEX_INITIALIZER;

/* The driver does not survive fork: the machine is not even mapped in the child. */
static void after_fork_in_child(void)
{
    if (sim_driver.state == SIM_DRIVER_READY)
        sim_driver.state = SIM_DRIVER_FORKED;
    init_lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
}

CUresult sim_not_ready(void)
{
    return sim_driver.state == SIM_DRIVER_ENDED ? CUDA_ERROR_DEINITIALIZED : CUDA_ERROR_NOT_INITIALIZED;
}

static CUresult start(void)
{
    char why[4352];
    struct sim_driver driver = {.state = SIM_DRIVER_READY};
    driver.machine = sim_machine_open(true, why, sizeof(why));
    if (!driver.machine) {
        fprintf(stderr, "simgpu: %s\n", why);
        return CUDA_ERROR_SYSTEM_NOT_READY;
    }
    driver.device_count = sim_devices_choose(driver.machine, driver.device);
    if (driver.device_count == 0) {
        sim_machine_close(driver.machine);
        return CUDA_ERROR_NO_DEVICE;
    }
    sim_machine_lock(driver.machine);
    driver.process = sim_process_open(driver.machine);
    sim_machine_unlock(driver.machine);
    if (!driver.process) {
        sim_machine_close(driver.machine);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    driver.faults = sim_faults_read();
    pthread_atfork(NULL, NULL, after_fork_in_child);
    enum sim_driver_state state = driver.state;
    driver.state = SIM_DRIVER_NEW;
    sim_driver = driver;
    atomic_store_explicit(&sim_driver.state, state, memory_order_release);
    return CUDA_SUCCESS;
}

SIM_API(cuInit, (unsigned int flags))
{
    if (flags != 0)
        return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&init_lock);
    CUresult result = CUDA_SUCCESS;
    if (sim_driver.state == SIM_DRIVER_NEW)
        result = start();
    else if (sim_driver.state != SIM_DRIVER_READY)
        result = sim_not_ready();
    pthread_mutex_unlock(&init_lock);
    if (result == CUDA_SUCCESS && sim_driver.faults)
        result = sim_fault("cuInit");
    return result;
}

/* A normal exit gives everything back at once; a killed process is noticed by the others. */
__attribute__((destructor)) static void leave(void)
{
    if (sim_driver.state != SIM_DRIVER_READY)
        return;
    sim_driver.state = SIM_DRIVER_ENDED;
    sim_helper_stop();
    sim_machine_lock(sim_driver.machine);
    /* Unless another process has noticed already that the helper is gone. */
    if (sim_driver.machine->process[sim_driver.process].state == SIM_PROCESS_LIVE)
        sim_process_end(sim_driver.machine, sim_driver.process);
    sim_machine_unlock(sim_driver.machine);
}
