/* share.c -- who holds what several processes use, and who of them is charged with it. */
#include "share.h"
#include "model.h"
#include "recognise.h"

static struct sim_process_device *usage_of(struct sim_machine *m, uint32_t process, const struct sim_share *s)
{
    return &m->process[process].device[s->device];
}

/* A hold that is not in use, with room in the file. */
static uint32_t free_hold(struct sim_machine *m)
{
    uint32_t hold = m->free_hold;
    if (hold)
        SIM_PUT(m, m->free_hold, m->hold[hold].next);
    else if (m->holds_made < SIM_MAX_HOLDS &&
             sim_have_room(&m->hold[m->holds_made + 1], sizeof(m->hold[0]))) {
        hold = m->holds_made + 1;
        SIM_PUT(m, m->holds_made, hold);
    }
    return hold;
}

static void add_holder(struct sim_machine *m, uint32_t share, uint32_t hold, uint32_t process)
{
    struct sim_share *s = &m->share[share];
    uint32_t *link = &s->first_hold;
    while (*link)
        link = &m->hold[*link].next;
    SIM_PUT(m, m->hold[hold].share, share);
    SIM_PUT(m, m->hold[hold].process, process);
    SIM_PUT(m, m->hold[hold].count, 1);
    SIM_PUT(m, m->hold[hold].next, 0);
    SIM_PUT(m, *link, hold);
}

/* One never used, else the one after the last given out that nobody holds. */
static uint32_t free_share(struct sim_machine *m)
{
    if (m->shares_made < SIM_MAX_SHARES &&
        sim_have_room(&m->share[m->shares_made + 1], sizeof(m->share[0]))) {
        SIM_PUT(m, m->shares_made, m->shares_made + 1);
        return m->shares_made;
    }
    for (uint32_t i = 0; i < m->shares_made; i++) {
        uint32_t share = (m->last_share + i) % m->shares_made + 1;
        if (!m->share[share].first_hold)
            return share;
    }
    return 0;
}

uint32_t sim_share_open(struct sim_machine *m, uint32_t process, const struct sim_share *what)
{
    uint32_t share = free_share(m), hold = share ? free_hold(m) : 0;
    if (!hold) {
        sim_commit(m);
        return 0;
    }
    struct sim_share *s = &m->share[share];
    SIM_PUT(m, m->last_share, share);
    SIM_PUT(m, m->last_serial, m->last_serial + 1);
    SIM_PUT(m, s->serial, 0);
    sim_commit(
        m); /* nobody holds it, nobody finds it: what follows needs no way back until it has its serial */
    uint64_t serial = m->last_serial;
    *s = *what;
    s->serial = 0;
    s->first_hold = 0;
    s->payer = what->purpose != SIM_SHARE_EVENT && what->device < SIM_MAX_DEVICES ? process : 0;
    add_holder(m, share, hold, process);
    SIM_PUT(m, s->serial, serial);
    sim_commit(m);
    return share;
}

bool sim_share_held_by_others(const struct sim_machine *m, uint32_t share, uint32_t process)
{
    for (uint32_t hold = m->share[share].first_hold; hold; hold = m->hold[hold].next)
        if (m->hold[hold].process != process)
            return true;
    return false;
}

/* Where the hold of that process hangs; 0 hangs there when it has none. */
static uint32_t *link_of(struct sim_machine *m, struct sim_share *s, uint32_t process)
{
    uint32_t *link = &s->first_hold;
    while (*link && m->hold[*link].process != process)
        link = &m->hold[*link].next;
    return link;
}

enum sim_share_result sim_share_hold(struct sim_machine *m, uint32_t share, uint32_t process)
{
    struct sim_share *s = &m->share[share];
    uint32_t hold = *link_of(m, s, process);
    if (hold) {
        SIM_PUT(m, m->hold[hold].count, m->hold[hold].count + 1);
        sim_commit(m);
        return SIM_SHARE_HELD;
    }
    hold = free_hold(m);
    if (!hold)
        return SIM_SHARE_NO_ROOM;
    if (s->bytes && !s->payer) {
        struct sim_device *d = &m->device[s->device];
        if (s->bytes > d->profile.memory_bytes - d->used_bytes) {
            SIM_PUT(m, m->hold[hold].next, m->free_hold);
            SIM_PUT(m, m->free_hold, hold);
            sim_commit(m);
            return SIM_SHARE_NO_MEMORY;
        }
        SIM_PUT(m, d->used_bytes, d->used_bytes + s->bytes);
        sim_memory_add(m, process, s->device, s->kind, s->bytes);
        SIM_PUT(m, s->payer, process);
    }
    add_holder(m, share, hold, process);
    sim_commit(m);
    return SIM_SHARE_HELD;
}

/* The next holder pays, or nobody. */
static void pass_on(struct sim_machine *m, struct sim_share *s)
{
    struct sim_process_device *usage = usage_of(m, s->payer, s);
    struct sim_device *d = &m->device[s->device];
    SIM_PUT(m, usage->memory[s->kind], usage->memory[s->kind] - s->bytes);
    SIM_PUT(m, usage->used_bytes, usage->used_bytes - s->bytes);
    if (s->first_hold) {
        SIM_PUT(m, s->payer, m->hold[s->first_hold].process);
        sim_memory_add(m, s->payer, s->device, s->kind, s->bytes);
    } else {
        SIM_PUT(m, s->payer, 0);
        SIM_PUT(m, d->used_bytes, d->used_bytes - s->bytes);
    }
}

/* An event's slot stays with another who holds it. */
static void keep_slot(struct sim_machine *m, const struct sim_share *s, uint32_t process)
{
    uint64_t block = s->offset / SIM_BLOCK_EVENTS;
    for (uint32_t hold = s->first_hold; hold && m->block_owner[block] == process; hold = m->hold[hold].next)
        if (m->hold[hold].process != process)
            m->block_owner[block] = (uint16_t)m->hold[hold].process;
}

static void remove_holder(struct sim_machine *m, uint32_t share, uint32_t process)
{
    struct sim_share *s = &m->share[share];
    uint32_t *link = link_of(m, s, process), hold = *link;
    SIM_PUT(m, *link, m->hold[hold].next);
    SIM_PUT(m, m->hold[hold].share, 0);
    SIM_PUT(m, m->hold[hold].next, m->free_hold);
    SIM_PUT(m, m->free_hold, hold);
    if (s->payer == process)
        pass_on(m, s);
    sim_commit(m);
}

void sim_share_drop(struct sim_machine *m, uint32_t share, uint32_t process)
{
    uint32_t hold = *link_of(m, &m->share[share], process);
    if (hold && m->hold[hold].count > 1) {
        SIM_PUT(m, m->hold[hold].count, m->hold[hold].count - 1);
        sim_commit(m);
    } else if (hold)
        remove_holder(m, share, process);
}

const struct sim_share *sim_share_find(const struct sim_machine *m, uint32_t share, uint64_t serial,
                                       enum sim_share_purpose purpose)
{
    if (!serial || !share || share > m->shares_made)
        return NULL;
    const struct sim_share *s = &m->share[share];
    return s->serial == serial && s->purpose == (uint32_t)purpose ? s : NULL;
}

void sim_share_resize(struct sim_machine *m, uint32_t share, uint64_t bytes)
{
    SIM_PUT(m, m->share[share].bytes, bytes);
    sim_commit(m);
}

void sim_shares_leave(struct sim_machine *m, uint32_t process)
{
    for (uint32_t hold = 1; hold <= m->holds_made; hold++) {
        uint32_t share = m->hold[hold].share;
        if (!share || m->hold[hold].process != process)
            continue;
        if (m->share[share].purpose == SIM_SHARE_EVENT)
            keep_slot(m, &m->share[share], process);
        remove_holder(m, share, process);
    }
}
