/* tie.c -- lists of ties: what a keeper of physical memory keeps, and in which part of itself. */
#include "tie.h"

#include "grow.h"

static struct gs_tie *ties; /* [0] is none */
static uint32_t made, room, free_ones;

void gs_tie_put(uint32_t *list, uint32_t tie)
{
    ties[tie].next = *list;
    *list = tie;
}

uint32_t gs_tie_take(uint32_t *list)
{
    uint32_t tie = *list;

    if (tie)
        *list = ties[tie].next;
    return tie;
}

/* 0: no memory. */
static uint32_t new_tie(void)
{
    uint32_t tie = gs_tie_take(&free_ones);

    if (tie)
        return tie;
    if (made + 1 >= room && !gs_grow(&ties, &room, sizeof *ties))
        return 0;
    return ++made;
}

int gs_tie_add(uint32_t *list, uint32_t kept, const struct gs_part *part)
{
    uint32_t tie = new_tie();

    if (!tie)
        return 0;
    ties[tie] = (struct gs_tie){.part = *part, .kept = kept};
    gs_tie_put(list, tie);
    return 1;
}

uint32_t gs_tie_free(uint32_t tie)
{
    gs_tie_put(&free_ones, tie);
    return ties[tie].kept;
}

struct gs_tie gs_tie_read(uint32_t tie)
{
    return ties[tie];
}

void gs_ties_forget(void)
{
    ties = NULL;
    made = room = free_ones = 0;
}
