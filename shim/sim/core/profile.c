/* profile.c -- the devices that can be simulated: public figures of real ones. */
#include "profile.h"

#include <stdio.h>
#include <string.h>

const struct sim_profile sim_profiles[] = {
    {
        .key = "h200",
        .name = "NVIDIA H200",
        .memory_bytes = 143167 * SIM_MIB,
        .context_bytes = 528 * SIM_MIB,
        .sm_count = 132,
        .compute_major = 9,
        .compute_minor = 0,
        .clock_khz = 1980000,
        .memory_clock_khz = 3201000,
        .memory_bus_bits = 6144,
        .l2_bytes = 60 << 20,
        .threads_per_sm = 2048,
        .blocks_per_sm = 32,
        .shared_per_sm = 228 << 10,
        .shared_per_block_optin = 227 << 10,
        .host_bytes_per_us = 50000,
        .memory_bytes_per_us = 4800000,
        .pci_device_id = 0x233510de,
    },
    {
        .key = "a100",
        .name = "NVIDIA A100-SXM4-80GB",
        .memory_bytes = 81152 * SIM_MIB,
        .context_bytes = 424 * SIM_MIB,
        .sm_count = 108,
        .compute_major = 8,
        .compute_minor = 0,
        .clock_khz = 1410000,
        .memory_clock_khz = 1593000,
        .memory_bus_bits = 5120,
        .l2_bytes = 40 << 20,
        .threads_per_sm = 2048,
        .blocks_per_sm = 32,
        .shared_per_sm = 164 << 10,
        .shared_per_block_optin = 163 << 10,
        .host_bytes_per_us = 25000,
        .memory_bytes_per_us = 2039000,
        .pci_device_id = 0x20b210de,
    },
    {
        .key = "l4",
        .name = "NVIDIA L4",
        .memory_bytes = 22563 * SIM_MIB,
        .context_bytes = 224 * SIM_MIB,
        .sm_count = 58,
        .compute_major = 8,
        .compute_minor = 9,
        .clock_khz = 2040000,
        .memory_clock_khz = 6251000,
        .memory_bus_bits = 192,
        .l2_bytes = 48 << 20,
        .threads_per_sm = 1536,
        .blocks_per_sm = 24,
        .shared_per_sm = 100 << 10,
        .shared_per_block_optin = 99 << 10,
        .host_bytes_per_us = 25000,
        .memory_bytes_per_us = 300000,
        .pci_device_id = 0x27b810de,
    },
    {
        .key = "t4",
        .name = "Tesla T4",
        .memory_bytes = 15102 * SIM_MIB,
        .context_bytes = 106 * SIM_MIB,
        .sm_count = 40,
        .compute_major = 7,
        .compute_minor = 5,
        .clock_khz = 1590000,
        .memory_clock_khz = 5001000,
        .memory_bus_bits = 256,
        .l2_bytes = 4 << 20,
        .threads_per_sm = 1024,
        .blocks_per_sm = 16,
        .shared_per_sm = 64 << 10,
        .shared_per_block_optin = 64 << 10,
        .host_bytes_per_us = 12000,
        .memory_bytes_per_us = 320000,
        .pci_device_id = 0x1eb810de,
    },
};

const unsigned sim_profile_count = sizeof(sim_profiles) / sizeof(sim_profiles[0]);

const struct sim_profile *sim_profile_find(const char *key)
{
    for (unsigned i = 0; i < sim_profile_count; i++)
        if (strcmp(sim_profiles[i].key, key) == 0)
            return &sim_profiles[i];
    return NULL;
}

void sim_uuid_text(const uint8_t uuid[16], char text[SIM_UUID_TEXT])
{
    char *at = text + sprintf(text, "GPU-");
    for (int i = 0; i < 16; i++)
        at += sprintf(at, i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x", uuid[i]);
}
