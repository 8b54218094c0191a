/* process.c -- this process as a client of the machine: cuInit, visible devices, fork, exit. */
#include "process.h"
#include "faults.h"
#include "profile.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

struct sim_driver sim_driver;

static pthread_mutex_t init_lock = PTHREAD_MUTEX_INITIALIZER;

/* The driver does not survive fork: the machine is not even mapped in the child. */
static void after_fork_in_child(void)
{
    if (sim_driver.state == SIM_DRIVER_READY)
        sim_driver.state = SIM_DRIVER_FORKED;
    atomic_store(&sim_gate, 0);
    init_lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
}

CUresult sim_not_ready(void)
{
    return sim_driver.state == SIM_DRIVER_ENDED ? CUDA_ERROR_DEINITIALIZED : CUDA_ERROR_NOT_INITIALIZED;
}

/* A normal exit gives everything back at once; a killed process is noticed by the others.  What the program registered
 * for its exit before cuInit runs after this, as with the driver, and finds it shut down. */
static void leave(void)
{
    if (sim_driver.state != SIM_DRIVER_READY)
        return;
    sim_driver.state = SIM_DRIVER_ENDED;
    atomic_store(&sim_gate, 0);
    sim_helper_stop();
    sim_machine_lock(sim_driver.machine);
    /* Unless another process has noticed already that the helper is gone. */
    if (sim_driver.machine->process[sim_driver.process].state == SIM_PROCESS_LIVE)
        sim_process_end(sim_driver.machine, sim_driver.process);
    sim_machine_unlock(sim_driver.machine);
}

static CUresult start(void)
{
    char why[4352];
    struct sim_driver driver = {.state = SIM_DRIVER_NEW};
    driver.machine = sim_machine_open(true, why, sizeof(why));
    if (*why)
        fprintf(stderr, "simgpu: %s\n", why);
    if (!driver.machine)
        return CUDA_ERROR_SYSTEM_NOT_READY;
    driver.device_count = sim_devices_choose(driver.machine, driver.device);
    sim_driver = driver;
    CUresult result = driver.device_count ? CUDA_SUCCESS : CUDA_ERROR_NO_DEVICE;
    if (result == CUDA_SUCCESS && (!sim_faults_read(why, sizeof(why)) || !sim_costs_read(why, sizeof(why)))) {
        fprintf(stderr, "simgpu: %s\n", why);
        result = CUDA_ERROR_SYSTEM_NOT_READY;
    }
    if (result == CUDA_SUCCESS) {
        sim_machine_lock(driver.machine);
        sim_driver.process = sim_process_open(driver.machine);
        sim_machine_unlock(driver.machine);
        result = sim_driver.process ? sim_helper_start() : CUDA_ERROR_OUT_OF_MEMORY;
    }
    if (result != CUDA_SUCCESS) {
        if (sim_driver.process) {
            sim_machine_lock(driver.machine);
            sim_process_end(driver.machine, sim_driver.process);
            sim_machine_unlock(driver.machine);
        }
        sim_machine_close(driver.machine);
        return result;
    }
    pthread_atfork(NULL, NULL, after_fork_in_child);
    atexit(leave);
    atomic_store(&sim_driver.state, SIM_DRIVER_READY);
    atomic_fetch_or(&sim_gate, SIM_GATE_READY | (sim_faults_any() ? SIM_GATE_FAULTS : 0) |
                                   (sim_costs_any() ? SIM_GATE_COSTS : 0));
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
    if (result == CUDA_SUCCESS && sim_faults_any())
        result = sim_fault("cuInit");
    return result;
}
