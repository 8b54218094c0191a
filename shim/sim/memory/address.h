/* address.h -- address space for device memory, and the index of all blocks; all of it under sim_memory_lock. */
#ifndef SIM_ADDRESS_H
#define SIM_ADDRESS_H

#include "sim.h"

extern pthread_mutex_t sim_memory_lock;

/* Aligned to 512 bytes, from 1 MiB on to 2 MiB; 0: none left. Not zeroed when it was used before. */
uint64_t sim_space_take(uint64_t bytes);
/* The same below 4 GiB, for contexts whose addresses have 32 bits. */
uint64_t sim_space_take_low(uint64_t bytes);
/* Pages of their own there; NULL: none left. */
void *sim_map_low(uint64_t bytes, int protection, int flags);
void sim_space_give(uint64_t address, uint64_t bytes);
/* Whole pages of it: they are zero again and take nothing. */
bool sim_pages_drop(uint64_t base, uint64_t bytes);

#define SIM_FILE_BYTES (1ull << 45) /* of a file that is never filled: only what is touched is there */

/* A file without a name, of a size that nobody can change; -1: cannot be had. */
int sim_file_new(uint64_t bytes);
/* Another open file of the same memory; -1: none. */
int sim_file_reopen(int fd);
/* 0: no file. */
uint64_t sim_file_inode(int fd);

/* Space for device memory, in use or not.  Without the lock. */
bool sim_space_has(uint64_t address);

struct sim_file_range {
    int fd; /* not to be closed */
    uint64_t inode, offset;
};

/* Where what lies at that address of the space can be mapped from; false: nowhere. */
bool sim_space_file(uint64_t address, struct sim_file_range *range);

void sim_blocks_insert(struct sim_block *block);
void sim_blocks_remove(struct sim_block *block);
/* The block that contains the address, or NULL. */
struct sim_block *sim_blocks_at(uint64_t address);
/* The first block that begins there or later. */
struct sim_block *sim_blocks_from(uint64_t base);
/* In order of address, from NULL to NULL. */
struct sim_block *sim_blocks_next(const struct sim_block *block);

/* A block that is in the index and charged to nobody yet; NULL: no memory. */
struct sim_block *sim_block_new(enum sim_block_kind kind, CUdevice device, uint64_t base, uint64_t bytes);

#endif
