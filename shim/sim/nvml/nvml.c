/* nvml.c -- NVML's beginning and end: initialisation, versions, errors, devices by index, UUID and bus. */
#include "nvml.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

struct sim_nvml sim_nvml;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* A child does not inherit the machine, but what its parent began goes on there: it opens the machine when it asks. */
static void forget_machine(void)
{
    pthread_mutex_init(&lock, NULL);
    sim_nvml.machine = NULL;
}

/* With `lock` held. */
static bool open_machine(bool create)
{
    static bool watched;
    char why[4352];
    if (sim_nvml.machine)
        return true;
    sim_nvml.machine = sim_machine_open(create, why, sizeof(why));
    if (*why)
        fprintf(stderr, "simgpu: %s\n", why);
    if (sim_nvml.machine && !watched)
        watched = pthread_atfork(NULL, NULL, forget_machine) == 0;
    return sim_nvml.machine != NULL;
}

bool sim_nvml_open_again(void)
{
    pthread_mutex_lock(&lock);
    bool open = open_machine(false);
    pthread_mutex_unlock(&lock);
    return open;
}

static nvmlReturn_t start(void)
{
    pthread_mutex_lock(&lock);
    nvmlReturn_t result = open_machine(true) ? NVML_SUCCESS : NVML_ERROR_DRIVER_NOT_LOADED;
    if (result == NVML_SUCCESS && sim_nvml.users++ == 0)
        for (uint32_t i = 0; i < sim_nvml.machine->device_count; i++)
            sim_nvml.device[i].index = i;
    pthread_mutex_unlock(&lock);
    return result;
}

NVML_API(nvmlInit, (void))
{
    return start();
}

NVML_API(nvmlInit_v2, (void))
{
    return start();
}

NVML_API(nvmlInitWithFlags, (unsigned flags))
{
    return start();
}

/* The machine stays mapped: another thread may be reading it. */
NVML_API(nvmlShutdown, (void))
{
    nvmlReturn_t result = NVML_ERROR_UNINITIALIZED;
    pthread_mutex_lock(&lock);
    if (sim_nvml.users) {
        sim_nvml.users--;
        result = NVML_SUCCESS;
    }
    pthread_mutex_unlock(&lock);
    return result;
}

__attribute__((visibility("default"))) const char *nvmlErrorString(nvmlReturn_t code)
{
    static const char *const text[] = {
        "Success",
        "Uninitialized",
        "Invalid Argument",
        "Not Supported",
        "Insufficient Permissions",
        "Already Initialized",
        "Not Found",
        "Insufficient Size",
        "Insufficient External Power",
        "Driver Not Loaded",
        "Timeout",
        "Interrupt Request Issue",
        "NVML Shared Library Not Found",
        "Function Not Found",
        "Corrupted infoROM",
        "GPU is lost",
        "GPU requires restart",
        "The operating system has blocked the request",
        "RM has detected an NVML/RM version mismatch",
        "In use by another client",
        "Insufficient Memory",
        "No data",
        "ECC not supported for this vGPU",
        "Insufficient resources",
        "Frequency not supported",
        "Argument version mismatch",
        "Deprecated",
        "Not ready",
        "GPU not found",
        "Invalid state",
    };
    return (unsigned)code < sizeof(text) / sizeof(text[0]) ? text[code] : "Unknown Error";
}

nvmlReturn_t sim_nvml_give_text(char *to, unsigned room, const char *text)
{
    if (!to)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (strlen(text) >= room)
        return NVML_ERROR_INSUFFICIENT_SIZE;
    strcpy(to, text);
    return NVML_SUCCESS;
}

NVML_API(nvmlSystemGetDriverVersion, (char *text, unsigned room))
{
    NVML_ENTER();
    return sim_nvml_give_text(text, room, SIM_DRIVER_RELEASE);
}

struct branch {
    unsigned version;
    char text[80];
};

NVML_API(nvmlSystemGetDriverBranch, (struct branch * branch, unsigned room))
{
    NVML_ENTER();
    if (!branch)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (branch->version != NVML_VERSION(*branch, 1))
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    return sim_nvml_give_text(branch->text, room < sizeof(branch->text) ? room : sizeof(branch->text),
                              SIM_DRIVER_BRANCH);
}

NVML_API(nvmlSystemGetNVMLVersion, (char *text, unsigned room))
{
    NVML_ENTER();
    return sim_nvml_give_text(text, room, "13." SIM_DRIVER_RELEASE);
}

/* These two work before nvmlInit. */
NVML_API(nvmlSystemGetCudaDriverVersion, (int *version))
{
    if (!version)
        return NVML_ERROR_INVALID_ARGUMENT;
    *version = SIM_DRIVER_VERSION;
    return NVML_SUCCESS;
}

NVML_API(nvmlSystemGetCudaDriverVersion_v2, (int *version))
{
    if (!version)
        return NVML_ERROR_INVALID_ARGUMENT;
    *version = SIM_DRIVER_VERSION;
    return NVML_SUCCESS;
}

NVML_API(nvmlSystemGetProcessName, (unsigned pid, char *name, unsigned room))
{
    NVML_ENTER();
    char path[64], text[1024];
    if (!name || !room)
        return NVML_ERROR_INVALID_ARGUMENT;
    snprintf(path, sizeof(path), "/proc/%u/cmdline", pid);
    FILE *file = fopen(path, "re");
    if (!file)
        return NVML_ERROR_NOT_FOUND;
    size_t length = fread(text, 1, sizeof(text) - 1, file);
    fclose(file);
    text[length] = 0;
    snprintf(name, room, "%s", text); /* the first word only */
    return NVML_SUCCESS;
}

/* Neither units of an S-class system nor their boards, and no device is kept from anybody. */
#define NONE(name)                                                                                           \
    NVML_API(name, (unsigned *count))                                                                        \
    {                                                                                                        \
        NVML_ENTER();                                                                                        \
        if (!count)                                                                                          \
            return NVML_ERROR_INVALID_ARGUMENT;                                                              \
        *count = 0;                                                                                          \
        return NVML_SUCCESS;                                                                                 \
    }

NONE(nvmlUnitGetCount)
NONE(nvmlSystemGetHicVersion)
NONE(nvmlGetExcludedDeviceCount)
NONE(nvmlGetBlacklistDeviceCount)

static nvmlReturn_t count_devices(unsigned *count)
{
    NVML_ENTER();
    if (!count)
        return NVML_ERROR_INVALID_ARGUMENT;
    *count = sim_nvml.machine->device_count;
    return NVML_SUCCESS;
}

NVML_API(nvmlDeviceGetCount, (unsigned *count))
{
    return count_devices(count);
}

NVML_API(nvmlDeviceGetCount_v2, (unsigned *count))
{
    return count_devices(count);
}

static nvmlReturn_t by_index(unsigned index, nvmlDevice_t *device)
{
    NVML_ENTER();
    if (!device || index >= sim_nvml.machine->device_count)
        return NVML_ERROR_INVALID_ARGUMENT;
    *device = &sim_nvml.device[index];
    return NVML_SUCCESS;
}

NVML_API(nvmlDeviceGetHandleByIndex, (unsigned index, nvmlDevice_t *device))
{
    return by_index(index, device);
}

NVML_API(nvmlDeviceGetHandleByIndex_v2, (unsigned index, nvmlDevice_t *device))
{
    return by_index(index, device);
}

NVML_API(nvmlDeviceGetHandleByUUID, (const char *uuid, nvmlDevice_t *device))
{
    NVML_ENTER();
    if (!uuid || !device)
        return NVML_ERROR_INVALID_ARGUMENT;
    for (uint32_t i = 0; i < sim_nvml.machine->device_count; i++) {
        char text[SIM_UUID_TEXT];
        sim_uuid_text(sim_nvml.machine->device[i].uuid, text);
        if (strcasecmp(text, uuid) == 0 ||
            strcasecmp(text + strlen("GPU-"), uuid) == 0) /* as the driver writes it */
            return by_index(i, device);
    }
    return NVML_ERROR_NOT_FOUND;
}

struct uuid {
    unsigned version, type;
    union {
        char text[SIM_UUID_TEXT];
        uint8_t bytes[16];
    };
};

NVML_API(nvmlDeviceGetHandleByUUIDV, (const struct uuid *uuid, nvmlDevice_t *device))
{
    enum { ASCII = 1, BINARY = 2 };
    NVML_ENTER();
    if (!uuid || !device)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (uuid->version != NVML_VERSION(*uuid, 1))
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    if (uuid->type == ASCII)
        return nvmlDeviceGetHandleByUUID(uuid->text, device);
    if (uuid->type != BINARY)
        return NVML_ERROR_INVALID_ARGUMENT;
    for (uint32_t i = 0; i < sim_nvml.machine->device_count; i++)
        if (memcmp(sim_nvml.machine->device[i].uuid, uuid->bytes, sizeof(uuid->bytes)) == 0)
            return by_index(i, device);
    return NVML_ERROR_NOT_FOUND;
}

static nvmlReturn_t by_bus(const char *text, nvmlDevice_t *device)
{
    NVML_ENTER();
    unsigned domain = 0, bus = 0, slot = 0;
    if (!text || !device)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (sscanf(text, "%x:%x:%x", &domain, &bus, &slot) != 3) {
        domain = 0;
        if (sscanf(text, "%x:%x", &bus, &slot) != 2)
            return NVML_ERROR_INVALID_ARGUMENT;
    }
    for (uint32_t i = 0; i < sim_nvml.machine->device_count; i++)
        if (domain == 0 && slot == 0 && bus == sim_pci_bus(i))
            return by_index(i, device);
    return NVML_ERROR_NOT_FOUND;
}

NVML_API(nvmlDeviceGetHandleByPciBusId, (const char *text, nvmlDevice_t *device))
{
    return by_bus(text, device);
}

NVML_API(nvmlDeviceGetHandleByPciBusId_v2, (const char *text, nvmlDevice_t *device))
{
    return by_bus(text, device);
}

NVML_NUMBER(nvmlDeviceGetIndex, unsigned, device->index)

NVML_NUMBER(nvmlDeviceGetMinorNumber, unsigned, device->index)

NVML_API(nvmlDeviceGetName, (nvmlDevice_t device, char *name, unsigned room))
{
    NVML_ENTER_DEVICE(device, name);
    return sim_nvml_give_text(name, room, sim_nvml_device(device)->profile.name);
}

NVML_API(nvmlDeviceGetUUID, (nvmlDevice_t device, char *uuid, unsigned room))
{
    NVML_ENTER_DEVICE(device, uuid);
    char text[SIM_UUID_TEXT];
    sim_uuid_text(sim_nvml_device(device)->uuid, text);
    return sim_nvml_give_text(uuid, room, text);
}
