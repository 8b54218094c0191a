/* sticky.c -- contexts that fail: which errors do that, and who notices it in time.
 *
 * The model fails a context when the command that breaks it ends (fault.c), but only while somebody looks; threads
 * that wait for longer work of the same context would sleep on.  So the helper looks when such a command may be
 * done, and wakes them. */
#include "faults.h"
#include "process.h"

#define MAX_EXPECTED 16 /* later ones are noticed when somebody looks anyway */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct expected {
    uint32_t queue; /* 0: free */
    uint64_t command;
} expected[MAX_EXPECTED];
static _Atomic uint32_t expected_count;

bool sim_breaks_context(uint32_t error)
{
    switch (error) {
    case CUDA_ERROR_ECC_UNCORRECTABLE:
    case CUDA_ERROR_NVLINK_UNCORRECTABLE:
    case CUDA_ERROR_CONTAINED:
    case CUDA_ERROR_ILLEGAL_ADDRESS:
    case CUDA_ERROR_LAUNCH_TIMEOUT:
    case CUDA_ERROR_ASSERT:
    case CUDA_ERROR_HARDWARE_STACK_ERROR:
    case CUDA_ERROR_ILLEGAL_INSTRUCTION:
    case CUDA_ERROR_MISALIGNED_ADDRESS:
    case CUDA_ERROR_INVALID_ADDRESS_SPACE:
    case CUDA_ERROR_INVALID_PC:
    case CUDA_ERROR_LAUNCH_FAILED:
    case CUDA_ERROR_TENSOR_MEMORY_LEAK:
    case CUDA_ERROR_EXTERNAL_DEVICE:
    case CUDA_ERROR_UNKNOWN:
        return true;
    default:
        return false;
    }
}

void sim_failure_expect(uint32_t queue, uint64_t command)
{
    pthread_mutex_lock(&lock);
    for (int i = 0; i < MAX_EXPECTED; i++)
        if (expected[i].queue == 0) {
            expected[i] = (struct expected){queue, command};
            atomic_fetch_add(&expected_count, 1);
            break;
        }
    pthread_mutex_unlock(&lock);
}

uint64_t sim_failure_due(void)
{
    struct sim_machine *m = sim_driver.machine;
    uint64_t next = UINT64_MAX;
    if (atomic_load(&expected_count) == 0)
        return next;
    pthread_mutex_lock(&lock);
    sim_machine_lock(m);
    for (int i = 0; i < MAX_EXPECTED; i++) {
        struct expected *e = &expected[i];
        if (e->queue == 0)
            continue;
        if (!m->queue[e->queue].context || m->queue[e->queue].head >= e->command) {
            e->queue = 0;
            atomic_fetch_sub(&expected_count, 1);
            continue;
        }
        uint64_t at = sim_queue_predict(m, e->queue, e->command);
        next = at < next ? at : next;
    }
    sim_machine_unlock(m);
    pthread_mutex_unlock(&lock);
    return next;
}
