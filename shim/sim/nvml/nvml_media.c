/* nvml_media.c -- the engines that encode and capture pictures: there where the card has them, and idle. */
#include "nvml.h"

#include <string.h>

enum { H264, HEVC, AV1, CODECS };

/* Percent of its engine's capacity that is left; cards for training have no encoder. */
NVML_API(nvmlDeviceGetEncoderCapacity, (nvmlDevice_t device, unsigned codec, unsigned *percent_left))
{
    NVML_ENTER_DEVICE(device, percent_left);
    const char *key = sim_nvml_device(device)->profile.key;
    bool l4 = strcmp(key, "l4") == 0, t4 = strcmp(key, "t4") == 0;
    if (codec >= CODECS)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (!l4 && (!t4 || codec == AV1))
        return NVML_ERROR_NOT_SUPPORTED;
    *percent_left = 100;
    return NVML_SUCCESS;
}

NVML_API(nvmlDeviceGetEncoderStats,
         (nvmlDevice_t device, unsigned *sessions, unsigned *frames_per_s, unsigned *latency_us))
{
    NVML_ENTER_DEVICE(device, sessions);
    if (!frames_per_s || !latency_us)
        return NVML_ERROR_INVALID_ARGUMENT;
    *sessions = *frames_per_s = *latency_us = 0;
    return NVML_SUCCESS;
}

struct capture {
    unsigned sessions, frames_per_s, latency_us;
};

NVML_API(nvmlDeviceGetFBCStats, (nvmlDevice_t device, struct capture *capture))
{
    NVML_ENTER_DEVICE(device, capture);
    *capture = (struct capture){0};
    return NVML_SUCCESS;
}

#define NO_SESSIONS(name)                                                                                    \
    NVML_API(name, (nvmlDevice_t device, unsigned *count, void *session))                                    \
    {                                                                                                        \
        NVML_ENTER_DEVICE(device, count);                                                                    \
        *count = 0;                                                                                          \
        return NVML_SUCCESS;                                                                                 \
    }

NO_SESSIONS(nvmlDeviceGetEncoderSessions)
NO_SESSIONS(nvmlDeviceGetFBCSessions)
