/* address.c -- where device memory lives: address space that is committed when touched, and an index of all blocks.
 *
 * Space is cut from large reserved chunks in size classes (eight to a doubling, whole huge pages from 1 MiB on), so
 * that allocating and freeing cost the same however many blocks live.  The chunks are parts of one file without a
 * name, so that another process can map what this one exports.  The index is a treap by address. */
#define _GNU_SOURCE
#include "address.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK_BYTES (1024 * SIM_MIB)
#define CLASSES     512
#define PAGE        4096ull

/* -------- space -------- */

#define LOW_BYTES (64 * SIM_MIB) /* a chunk below 4 GiB */
#define LOW_FIRST 0x10000000ull
#define LOW_END   (1ull << 32)

struct hole {
    struct hole *next;
    uint64_t address;
};

/* Space of one kind: anywhere, or below 4 GiB. */
struct space {
    bool low;
    uint64_t chunk_at, chunk_end; /* what is left of the newest chunk */
    struct hole *holes[CLASSES];
};

static struct space spaces[] = {{.low = false}, {.low = true}};
static struct hole *spare_holes;

/* Rounds bytes up to its class. */
static unsigned size_class(uint64_t *bytes)
{
    uint64_t units = (*bytes + SIM_LINEAR_GRAIN - 1) / SIM_LINEAR_GRAIN;
    if (units <= 8) {
        *bytes = units * SIM_LINEAR_GRAIN;
        return (unsigned)units;
    }
    unsigned top = 63 - (unsigned)__builtin_clzll(units - 1); /* at least 3 */
    uint64_t step = 1ull << (top - 3);
    uint64_t eighths = (units + step - 1) / step; /* 9 to 16 */
    *bytes = eighths * step * SIM_LINEAR_GRAIN;
    return 9 + (top - 3) * 8 + (unsigned)(eighths - 9);
}

void *sim_map_low(uint64_t bytes, int protection, int flags)
{
    for (uint64_t at = LOW_FIRST; at + bytes <= LOW_END; at += SIM_PHYSICAL_GRAIN) {
        void *p = mmap((void *)at, bytes, protection, flags | MAP_FIXED_NOREPLACE, -1, 0);
        if (p == (void *)at)
            return p;
        if (p != MAP_FAILED) /* a kernel before 4.17 takes the address for a hint */
            munmap(p, bytes);
    }
    return NULL;
}

/* -------- the file behind it -------- */

int sim_file_new(uint64_t bytes)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_FSIZE, &limit) || limit.rlim_cur < bytes) /* a signal would tell of it */
        return -1;
    int fd = memfd_create("simgpu", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -1;
    if (ftruncate(fd, (off_t)bytes) == 0 &&
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0)
        return fd;
    close(fd);
    return -1;
}

int sim_file_reopen(int fd)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return open(path, O_RDWR | O_CLOEXEC);
}

uint64_t sim_file_inode(int fd)
{
    struct stat st;
    return fd >= 0 && fstat(fd, &st) == 0 ? st.st_ino : 0;
}

static struct file {
    int fd;
    uint64_t inode, used; /* inode 0: none yet */
} file = {.fd = -1};

static struct chunk {
    struct chunk *next;
    uint64_t base, bytes, offset, inode;
} * chunks;

/* A program may have closed the descriptor, with all that it did not open itself: then another file goes on. */
static bool have_file(uint64_t bytes)
{
    if (file.inode && sim_file_inode(file.fd) == file.inode && file.used + bytes <= SIM_FILE_BYTES)
        return true;
    int fd = sim_file_new(SIM_FILE_BYTES);
    file = (struct file){fd, sim_file_inode(fd), 0};
    return file.inode != 0;
}

/* Where that cannot be had: memory that no other process can map. */
static void *map_chunk(uint64_t bytes)
{
    struct chunk *chunk = malloc(sizeof(*chunk));
    if (!chunk || !have_file(bytes)) {
        free(chunk);
        return mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    }
    void *p =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, file.fd, (off_t)file.used);
    if (p == MAP_FAILED) {
        free(chunk);
        return p;
    }
    *chunk = (struct chunk){chunks, (uint64_t)p, bytes, file.used, file.inode};
    chunks = chunk;
    file.used += bytes;
    return p;
}

bool sim_space_has(uint64_t address)
{
    bool found = false;
    pthread_mutex_lock(&sim_memory_lock);
    for (const struct chunk *c = chunks; c && !found; c = c->next)
        found = address - c->base < c->bytes;
    pthread_mutex_unlock(&sim_memory_lock);
    return found;
}

bool sim_space_file(uint64_t address, struct sim_file_range *range)
{
    for (const struct chunk *c = chunks; c; c = c->next)
        if (address - c->base < c->bytes && c->inode == file.inode && sim_file_inode(file.fd) == file.inode) {
            *range = (struct sim_file_range){file.fd, file.inode, c->offset + (address - c->base)};
            return true;
        }
    return false;
}

static uint64_t reserve(uint64_t bytes, bool low)
{
    uint64_t size = bytes + SIM_PHYSICAL_GRAIN;
    void *p = low ? sim_map_low(size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE)
                  : map_chunk(size);
    if (p == NULL || p == MAP_FAILED)
        return 0;
    madvise(p, size, MADV_NOHUGEPAGE); /* commit what is touched, not 2 MiB around it */
    madvise(p, size, MADV_DONTDUMP);
    return ((uint64_t)p + SIM_PHYSICAL_GRAIN - 1) & ~(SIM_PHYSICAL_GRAIN - 1);
}

static uint64_t cut(struct space *space, uint64_t bytes)
{
    uint64_t align = bytes >= SIM_MIB ? SIM_PHYSICAL_GRAIN : SIM_LINEAR_GRAIN;
    uint64_t at = (space->chunk_at + align - 1) & ~(align - 1);
    if (space->chunk_at == 0 || at + bytes > space->chunk_end) {
        uint64_t chunk = space->low ? LOW_BYTES : CHUNK_BYTES;
        uint64_t size = bytes > chunk / 4 ? bytes : chunk;
        at = reserve(size, space->low);
        if (at == 0)
            return 0;
        if (size == bytes) /* a chunk of its own */
            return at;
        space->chunk_end = at + size;
    }
    space->chunk_at = at + bytes;
    return at;
}

static uint64_t take(struct space *space, uint64_t bytes)
{
    unsigned class = size_class(&bytes);
    struct hole *hole = space->holes[class];
    if (!hole)
        return cut(space, bytes);
    space->holes[class] = hole->next;
    hole->next = spare_holes;
    spare_holes = hole;
    return hole->address;
}

uint64_t sim_space_take(uint64_t bytes)
{
    return take(&spaces[0], bytes);
}

uint64_t sim_space_take_low(uint64_t bytes)
{
    return take(&spaces[1], bytes);
}

bool sim_pages_drop(uint64_t base, uint64_t bytes)
{
    return madvise((void *)base, bytes, MADV_REMOVE) == 0 || /* of a file */
           madvise((void *)base, bytes, MADV_DONTNEED) == 0;
}

void sim_space_give(uint64_t address, uint64_t bytes)
{
    unsigned class = size_class(&bytes);
    uint64_t first = (address + PAGE - 1) & ~(PAGE - 1), last = (address + bytes) & ~(PAGE - 1);
    if (last > first && bytes >= 16 * PAGE)
        sim_pages_drop(first, last - first);
    struct hole *hole = spare_holes;
    if (hole)
        spare_holes = hole->next;
    else if (!(hole = malloc(sizeof(*hole))))
        return; /* the address is lost, nothing else */
    struct space *space = &spaces[address < LOW_END];
    *hole = (struct hole){space->holes[class], address};
    space->holes[class] = hole;
}

/* -------- index -------- */

static struct sim_block *root;
static uint32_t random_state = 2463534242u;

static uint32_t next_weight(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return random_state;
}

static void split(struct sim_block *tree, uint64_t base, struct sim_block **below, struct sim_block **above)
{
    while (tree) {
        if (tree->base < base) {
            *below = tree;
            below = &tree->right;
            tree = tree->right;
        } else {
            *above = tree;
            above = &tree->left;
            tree = tree->left;
        }
    }
    *below = *above = NULL;
}

void sim_blocks_insert(struct sim_block *block)
{
    struct sim_block **link = &root;
    block->weight = next_weight();
    while (*link && (*link)->weight >= block->weight)
        link = block->base < (*link)->base ? &(*link)->left : &(*link)->right;
    split(*link, block->base, &block->left, &block->right);
    *link = block;
}

void sim_blocks_remove(struct sim_block *block)
{
    struct sim_block **link = &root;
    while (*link != block)
        link = block->base < (*link)->base ? &(*link)->left : &(*link)->right;
    struct sim_block *a = block->left, *b = block->right;
    while (a && b) {
        if (a->weight > b->weight) {
            *link = a;
            link = &a->right;
            a = a->right;
        } else {
            *link = b;
            link = &b->left;
            b = b->left;
        }
    }
    *link = a ? a : b;
}

struct sim_block *sim_blocks_at(uint64_t address)
{
    struct sim_block *best = NULL;
    for (struct sim_block *b = root; b;) {
        if (b->base <= address) {
            best = b;
            b = b->right;
        } else
            b = b->left;
    }
    return best && address - best->base < best->bytes ? best : NULL;
}

struct sim_block *sim_blocks_from(uint64_t base)
{
    struct sim_block *best = NULL;
    for (struct sim_block *b = root; b;) {
        if (b->base >= base) {
            best = b;
            b = b->left;
        } else
            b = b->right;
    }
    return best;
}

struct sim_block *sim_blocks_next(const struct sim_block *block)
{
    return sim_blocks_from(block ? block->base + 1 : 0);
}
