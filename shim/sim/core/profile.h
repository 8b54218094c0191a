/* profile.h -- the devices that can be simulated, and what both libraries say about one alike. */
#ifndef SIM_PROFILE_H
#define SIM_PROFILE_H

#include "machine.h"

#define SIM_DRIVER_VERSION 13000 /* newer functions are exported, but not looked up */
#define SIM_DRIVER_RELEASE "580.65.06"
#define SIM_DRIVER_BRANCH  "r580_00"

extern const struct sim_profile sim_profiles[];
extern const unsigned sim_profile_count;

/* Device number `index` of the machine sits in a slot of its own: domain 0, this bus, device 0. */
static inline unsigned sim_pci_bus(uint32_t index)
{
    return 0x1b + 10 * index;
}

/* "GPU-xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx" and its end. */
#define SIM_UUID_TEXT 41
void sim_uuid_text(const uint8_t uuid[16], char text[SIM_UUID_TEXT]);

#endif
