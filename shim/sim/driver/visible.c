/* visible.c -- which devices of the machine a process sees, and in which order. */
#include "profile.h"
#include "sim.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define LONGEST_ENTRY 64

static uint64_t speed(const struct sim_device *device)
{
    return (uint64_t)device->profile.sm_count * device->profile.clock_khz;
}

/* CUDA_DEVICE_ORDER: by bus, or (the driver's default) the fastest first; equals stay in order of bus. */
static void order(const struct sim_machine *m, uint32_t *device)
{
    const char *wish = getenv("CUDA_DEVICE_ORDER");
    bool by_bus = wish && strcmp(wish, "PCI_BUS_ID") == 0;
    for (uint32_t i = 0; i < m->device_count; i++) {
        uint32_t at = i;
        for (; !by_bus && at && speed(&m->device[device[at - 1]]) < speed(&m->device[i]); at--)
            device[at] = device[at - 1];
        device[at] = i;
    }
}

/* Position in `device` of what an entry names: a number, or GPU- with enough of the UUID; -1: no such device. */
static int find(const struct sim_machine *m, const uint32_t *device, const char *entry)
{
    if (strncasecmp(entry, "GPU-", 4) == 0) {
        int found = -1;
        for (uint32_t i = 0; i < m->device_count; i++) {
            char text[SIM_UUID_TEXT];
            sim_uuid_text(m->device[device[i]].uuid, text);
            if (strncasecmp(text, entry, strlen(entry)) != 0)
                continue;
            if (found >= 0)
                return -1; /* ambiguous */
            found = (int)i;
        }
        return found;
    }
    char *end;
    unsigned long number = strtoul(entry, &end, 10);
    return isdigit((unsigned char)*entry) && !*end && number < m->device_count ? (int)number : -1;
}

int sim_devices_choose(const struct sim_machine *m, uint32_t device[SIM_MAX_DEVICES])
{
    const char *at = getenv("CUDA_VISIBLE_DEVICES");
    uint32_t all[SIM_MAX_DEVICES];
    order(m, all);
    if (!at) {
        memcpy(device, all, m->device_count * sizeof(*device));
        return (int)m->device_count;
    }
    int count = 0;
    while (*at && count < SIM_MAX_DEVICES) {
        char entry[LONGEST_ENTRY];
        size_t skip = strspn(at, " \t"), length = strcspn(at + skip, ",");
        const char *begin = at + skip;
        while (length && isspace((unsigned char)begin[length - 1]))
            length--;
        if (length >= sizeof(entry))
            break;
        memcpy(entry, begin, length);
        entry[length] = 0;
        int position = find(m, all, entry);
        if (position < 0)
            break; /* the first wrong entry hides itself and all that follow */
        for (int i = 0; i < count; i++)
            if (device[i] == all[position])
                return 0; /* named twice: the driver shows none */
        device[count++] = all[position];
        at = begin + strcspn(begin, ",");
        at += *at == ',';
    }
    return count;
}
