/* virtual.h -- when a virtual clock begins: known to the clock, and to the machine beside it. */
#ifndef SIM_VIRTUAL_H
#define SIM_VIRTUAL_H

#define SIM_VIRTUAL_START_NS 1000000000000ull /* CLOCK_MONOTONIC when a clock is made */
#define SIM_VIRTUAL_EPOCH_S  1700000000ull    /* CLOCK_REALTIME less CLOCK_MONOTONIC */

#endif
