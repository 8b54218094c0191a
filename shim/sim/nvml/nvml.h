/* nvml.h -- the simulated libnvidia-ml.so.1: our declarations of its public types, and what its files share. */
#ifndef SIM_NVML_H
#define SIM_NVML_H

#include "profile.h"

typedef enum {
    NVML_SUCCESS = 0,
    NVML_ERROR_UNINITIALIZED = 1,
    NVML_ERROR_INVALID_ARGUMENT = 2,
    NVML_ERROR_NOT_SUPPORTED = 3,
    NVML_ERROR_NO_PERMISSION = 4,
    NVML_ERROR_NOT_FOUND = 6,
    NVML_ERROR_INSUFFICIENT_SIZE = 7,
    NVML_ERROR_DRIVER_NOT_LOADED = 9,
    NVML_ERROR_TIMEOUT = 10,
    NVML_ERROR_GPU_IS_LOST = 15,
    NVML_ERROR_MEMORY = 20,
    NVML_ERROR_ARGUMENT_VERSION_MISMATCH = 25,
    NVML_ERROR_NOT_READY = 27,
    NVML_ERROR_UNKNOWN = 999
} nvmlReturn_t;

typedef struct sim_nvml_device *nvmlDevice_t;

#define NVML_API(name, params) __attribute__((visibility("default"))) nvmlReturn_t name params

/* A versioned structure begins with this number: the size, and the version in the top byte. */
#define NVML_VERSION(type, number) ((unsigned)(sizeof(type) | (unsigned)(number) << 24))

struct sim_nvml_device {
    uint32_t index; /* of the machine's device */
};

struct sim_nvml {
    unsigned users; /* nvmlInit without nvmlShutdown */
    struct sim_machine *machine;
    struct sim_nvml_device device[SIM_MAX_DEVICES];
};

extern struct sim_nvml sim_nvml;

/* Copies with the terminating zero, or says that it does not fit. */
nvmlReturn_t sim_nvml_give_text(char *to, unsigned room, const char *text);

/* Milliwatts: what an idle card draws, and what it may draw. */
unsigned sim_nvml_idle_mw(nvmlDevice_t device);
unsigned sim_nvml_most_mw(nvmlDevice_t device);

/* Nearest to part/whole, and never more than all. */
unsigned sim_nvml_percent(uint64_t part_ns, uint64_t whole_ns);
/* Of the last complete sample (core/sample.c). */
unsigned sim_nvml_busy_percent(nvmlDevice_t device);
/* How much of busy time device memory was read or written is not modelled: half of it is the answer. */
#define SIM_NVML_MEMORY_PERCENT(busy_percent) ((busy_percent) / 2)

#define SIM_NVML_NOT_AVAILABLE 0xffffffffu

/* In a child of the process that called nvmlInit; false where the machine is gone. */
bool sim_nvml_open_again(void);

static inline bool sim_nvml_ready(void)
{
    return sim_nvml.users && (sim_nvml.machine || sim_nvml_open_again());
}

#define NVML_ENTER()                                                                                         \
    do {                                                                                                     \
        if (!sim_nvml_ready())                                                                               \
            return NVML_ERROR_UNINITIALIZED;                                                                 \
    } while (0)

/* Also that the handle is one and `pointer` is given. */
#define NVML_ENTER_DEVICE(device, pointer)                                                                   \
    do {                                                                                                     \
        NVML_ENTER();                                                                                        \
        if (!sim_nvml_valid(device) || !(pointer))                                                           \
            return NVML_ERROR_INVALID_ARGUMENT;                                                              \
        if (sim_nvml_device(device)->lost)                                                                   \
            return NVML_ERROR_GPU_IS_LOST;                                                                   \
    } while (0)

static inline bool sim_nvml_valid(nvmlDevice_t device)
{
    return sim_nvml.machine && device >= sim_nvml.device &&
           device < sim_nvml.device + sim_nvml.machine->device_count;
}

static inline struct sim_device *sim_nvml_device(nvmlDevice_t device)
{
    return &sim_nvml.machine->device[device->index];
}

/* Functions that tell one number of a device. */
#define NVML_NUMBER(name, type, value)                                                                       \
    NVML_API(name, (nvmlDevice_t device, type * number))                                                     \
    {                                                                                                        \
        NVML_ENTER_DEVICE(device, number);                                                                   \
        *number = (type)(value);                                                                             \
        return NVML_SUCCESS;                                                                                 \
    }

#endif
