/* address.c -- where device memory lives: address space that is committed when touched, and an index of all blocks.
 *
 * Space is cut from large reserved chunks in size classes (eight to a doubling, whole huge pages from 1 MiB on), so
 * that allocating and freeing cost the same however many blocks live.  The index is a treap by address. */
#include "address.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define CHUNK_BYTES (1024 * SIM_MIB)
#define CLASSES     512
#define PAGE        4096ull

/* -------- space -------- */

static uint64_t chunk_at, chunk_end; /* what is left of the newest chunk */
static struct hole {
    struct hole *next;
    uint64_t address;
} * holes[CLASSES], *spare_holes;

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

static uint64_t reserve(uint64_t bytes)
{
    void *p = mmap(NULL, bytes + SIM_PHYSICAL_GRAIN, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return 0;
    madvise(p, bytes + SIM_PHYSICAL_GRAIN, MADV_NOHUGEPAGE); /* commit what is touched, not 2 MiB around it */
    madvise(p, bytes + SIM_PHYSICAL_GRAIN, MADV_DONTDUMP);
    return ((uint64_t)p + SIM_PHYSICAL_GRAIN - 1) & ~(SIM_PHYSICAL_GRAIN - 1);
}

static uint64_t cut(uint64_t bytes)
{
    uint64_t align = bytes >= SIM_MIB ? SIM_PHYSICAL_GRAIN : SIM_LINEAR_GRAIN;
    uint64_t at = (chunk_at + align - 1) & ~(align - 1);
    if (chunk_at == 0 || at + bytes > chunk_end) {
        uint64_t size = bytes > CHUNK_BYTES / 4 ? bytes : CHUNK_BYTES;
        at = reserve(size);
        if (at == 0)
            return 0;
        if (size == bytes) /* a chunk of its own */
            return at;
        chunk_end = at + size;
    }
    chunk_at = at + bytes;
    return at;
}

uint64_t sim_space_take(uint64_t bytes)
{
    unsigned class = size_class(&bytes);
    struct hole *hole = holes[class];
    if (!hole)
        return cut(bytes);
    holes[class] = hole->next;
    hole->next = spare_holes;
    spare_holes = hole;
    return hole->address;
}

void sim_space_give(uint64_t address, uint64_t bytes)
{
    unsigned class = size_class(&bytes);
    uint64_t first = (address + PAGE - 1) & ~(PAGE - 1), last = (address + bytes) & ~(PAGE - 1);
    if (last > first && bytes >= 16 * PAGE)
        madvise((void *)first, last - first, MADV_DONTNEED);
    struct hole *hole = spare_holes;
    if (hole)
        spare_holes = hole->next;
    else if (!(hole = malloc(sizeof(*hole))))
        return; /* the address is lost, nothing else */
    *hole = (struct hole){holes[class], address};
    holes[class] = hole;
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
