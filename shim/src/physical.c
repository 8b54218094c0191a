/* physical.c -- physical memory, and all that keeps it: who keeps what, and what ends when.
 *
 * Memory is charged where it was made, to its maker, until nothing keeps it: no handle, no mapping, no binding, no
 * tile of an array, no open descriptor.  Memory of other processes has records, too, but no charge. */
#include "device.h"
#include "grow.h"
#include "hooks.h"
#include "later.h"
#include "lock.h"
#include "physical.h"
#include "quota.h"
#include "tie.h"

struct physical {
    uint64_t name; /* 0: the record is free */
    uint64_t bytes;
    CUcontext context; /* that it goes with, or NULL */
    struct gs_mark mark;
    struct gs_copy copy;
    uint32_t holds;
    uint32_t ties; /* what it keeps */
    uint32_t next; /* in the list of free records, or of those that nothing but descriptors keeps */
    int16_t device;
    int8_t is_listed; /* in the latter */
    int8_t is_keeper; /* lives for as long as it keeps anything */
};

static struct gs_lock lock;
static struct physical *records; /* [0] is none: so all numbers here are */
static uint32_t records_made, records_room, free_record;
static uint32_t listed;        /* kept by descriptors; read without the lock, to see that there are none */
static uint32_t with_contexts; /* the same of records that go with a context */

/* -------- records -------- */

static uint32_t take_record(void)
{
    uint32_t index = free_record;

    if (index) {
        free_record = records[index].next;
        return index;
    }
    if (records_made + 1 == 1u << GS_RECORD_BITS)
        return 0;
    if (records_made + 1 >= records_room && !gs_grow(&records, &records_room, sizeof *records))
        return 0;
    return ++records_made;
}

static void give_record(uint32_t index)
{
    records[index] = (struct physical){.next = free_record};
    free_record = index;
}

/* False: no memory for it. */
static int name_it(uint32_t index, const struct physical *record)
{
    struct gs_entry entry = {
        .bytes = record->bytes, .owner = index, .device = record->device, .kind = GS_PHYSICAL};
    struct gs_entry stale; /* of one whose end is under way: it ends without a name */

    return gs_ledger_put(record->name, &entry, &stale) != GS_NOT_NOTED;
}

static int add_tie(uint32_t keeper, uint32_t kept, const struct gs_part *part)
{
    if (!gs_tie_add(&records[keeper].ties, kept, part))
        return 0;
    records[kept].holds++;
    return 1;
}

static void become_keeper(uint32_t index, CUcontext context)
{
    records[index].is_keeper = 1;
    records[index].context = context;
    if (context)
        __atomic_store_n(&with_contexts, with_contexts + 1, __ATOMIC_RELAXED);
}

static uint32_t find(uint64_t name)
{
    struct gs_entry entry;

    return gs_ledger_find(name, &entry) ? (uint32_t)entry.owner : 0;
}

/* -------- the end -------- */

static void forget_name(uint32_t index)
{
    struct gs_entry entry;
    uint64_t name = records[index].name;

    /* The driver may have given the same handle out again, to another record. */
    if (gs_ledger_find(name, &entry) && entry.owner == index)
        gs_ledger_take(name, &entry);
}

static void release(const struct physical *record, CUstream stream)
{
    struct gs_entry entry = {.bytes = record->bytes, .device = record->device, .kind = GS_PHYSICAL};

    if (record->bytes && (!stream || !gs_later_release(&entry, stream)))
        gs_quota_release(record->device, GS_PHYSICAL, record->bytes);
}

static void drop(uint32_t index, CUstream stream);

static void cut_all_ties(uint32_t index, CUstream stream)
{
    uint32_t ties = records[index].ties, tie;

    records[index].ties = 0;
    while ((tie = gs_tie_take(&ties)))
        drop(gs_tie_free(tie), stream);
}

static void end(uint32_t index, CUstream stream)
{
    struct physical *record = &records[index];

    forget_name(index);
    release(record, stream);
    gs_mark_clear(&record->mark);
    gs_copy_close(&record->copy);
    if (record->context)
        __atomic_store_n(&with_contexts, with_contexts - 1, __ATOMIC_RELAXED);
    cut_all_ties(index, stream);
    give_record(index);
}

static void list(struct physical *record)
{
    record->is_listed = 1;
    record->next = listed;
    __atomic_store_n(&listed, (uint32_t)(record - records), __ATOMIC_RELAXED);
}

static void drop(uint32_t index, CUstream stream)
{
    struct physical *record = &records[index];

    if (--record->holds || record->is_listed || (record->is_keeper && record->ties))
        return;
    if (gs_mark_seen(&record->mark))
        list(record);
    else
        end(index, stream);
}

void gs_physical_collect(void)
{
    uint32_t index;

    if (!__atomic_load_n(&listed, __ATOMIC_RELAXED))
        return;
    gs_lock(&lock);
    index = listed;
    __atomic_store_n(&listed, 0, __ATOMIC_RELAXED);
    while (index) {
        struct physical *record = &records[index];
        uint32_t next = record->next;

        record->is_listed = 0;
        if (!record->holds && gs_mark_seen(&record->mark))
            list(record);
        else if (!record->holds)
            end(index, NULL);
        index = next;
    }
    gs_unlock(&lock);
}

/* -------- what others do with records -------- */

/* With the lock held, and one hold. */
static uint32_t make(uint64_t name, int device, uint64_t bytes)
{
    uint32_t index = take_record();

    if (!index)
        return 0;
    records[index] = (struct physical){.name = name, .bytes = bytes, .holds = 1, .device = (int16_t)device};
    if (name_it(index, &records[index]))
        return index;
    give_record(index);
    return 0;
}

uint32_t gs_physical_new(uint64_t name, int device, uint64_t bytes)
{
    uint32_t index;

    gs_lock(&lock);
    index = make(name, device, bytes);
    gs_unlock(&lock);
    return index;
}

uint32_t gs_physical_hold_keeper(uint64_t name, CUcontext context)
{
    uint32_t index;

    gs_lock(&lock);
    index = find(name);
    if (index)
        records[index].holds++;
    else if ((index = make(name, GS_NO_DEVICE, 0)))
        become_keeper(index, context);
    gs_unlock(&lock);
    return index;
}

uint32_t gs_physical_hold(uint64_t name)
{
    uint32_t index;

    gs_lock(&lock);
    index = find(name);
    if (index)
        records[index].holds++;
    gs_unlock(&lock);
    return index;
}

CUresult gs_physical_retain(CUmemGenericAllocationHandle *handle, void *address)
{
    CUresult result;
    uint32_t index;

    gs_lock(&lock);
    result = REAL(cuMemRetainAllocationHandle)(handle, address);
    index = result ? 0 : find(gs_name(GS_NAME_HANDLE, *handle));
    if (index)
        records[index].holds++;
    gs_unlock(&lock);
    return result;
}

void gs_physical_drop(uint32_t record)
{
    if (!record)
        return;
    gs_lock(&lock);
    drop(record, NULL);
    gs_unlock(&lock);
}

CUresult gs_physical_dropped(uint32_t record, CUresult result)
{
    gs_physical_drop(record);
    if (!result)
        gs_physical_drop(record);
    return result;
}

int gs_physical_keep(uint32_t keeper, uint32_t kept, const struct gs_part *part)
{
    int done;

    gs_lock(&lock);
    done = add_tie(keeper, kept, part);
    gs_unlock(&lock);
    return done;
}

/* False: no memory for all of it. */
static int keep_rest(uint32_t keeper, uint32_t kept, const struct gs_part *whole, const struct gs_part *hole)
{
    struct gs_part rest[GS_MOST_RESTS];
    int count = gs_part_rests(*whole, hole, rest), done = 1;

    for (int i = 0; i < count; i++)
        done &= add_tie(keeper, kept, &rest[i]);
    return done;
}

void gs_physical_leave(uint32_t keeper, const struct gs_part *part, CUstream stream)
{
    uint32_t ties, tie;

    gs_lock(&lock);
    ties = records[keeper].ties;
    records[keeper].ties = 0;
    while ((tie = gs_tie_take(&ties))) {
        struct gs_tie cut = gs_tie_read(tie);

        if (gs_parts_touch(&cut.part, part) && keep_rest(keeper, cut.kept, &cut.part, part))
            drop(gs_tie_free(tie), stream);
        else
            gs_tie_put(&records[keeper].ties, tie);
    }
    gs_unlock(&lock);
}

/* -------- keepers that go -------- */

uint32_t gs_physical_going(uint64_t name)
{
    struct gs_entry entry;
    uint32_t index;

    gs_lock(&lock);
    index = gs_ledger_take(name, &entry) ? (uint32_t)entry.owner : 0;
    if (index)
        records[index].holds++;
    gs_unlock(&lock);
    return index;
}

CUresult gs_physical_gone(uint32_t keeper, CUresult result)
{
    if (!keeper)
        return result;
    gs_lock(&lock);
    if (result)
        name_it(keeper, &records[keeper]); /* room for it was there a moment ago */
    else
        cut_all_ties(keeper, NULL);
    drop(keeper, NULL);
    gs_unlock(&lock);
    return result;
}

void gs_physical_context_gone(CUcontext context)
{
    if (!context || !__atomic_load_n(&with_contexts, __ATOMIC_RELAXED))
        return;
    gs_lock(&lock);
    for (uint32_t i = 1; i <= records_made; i++)
        if (records[i].context == context) {
            records[i].holds++;
            cut_all_ties(i, NULL);
            drop(i, NULL);
        }
    gs_unlock(&lock);
}

/* -------- descriptors -------- */

void gs_physical_exported(uint32_t record, int fd)
{
    gs_lock(&lock);
    gs_mark_put(&records[record].mark, fd);
    gs_unlock(&lock);
}

uint32_t gs_physical_of_descriptor(int fd)
{
    uint32_t index = 0;

    gs_lock(&lock);
    for (uint32_t i = 1; i <= records_made && !index; i++)
        if (records[i].name && gs_mark_on(&records[i].mark, fd))
            index = i;
    if (index)
        records[index].holds++;
    gs_unlock(&lock);
    return index;
}

void gs_physical_imported(uint32_t record, const struct gs_copy *copy)
{
    gs_lock(&lock);
    records[record].copy = *copy;
    gs_unlock(&lock);
}

void gs_physical_forget(void)
{
    for (uint32_t i = 1; records && i <= records_made; i++)
        gs_copy_close(&records[i].copy);
    gs_descriptor_forget();
    lock.word = GS_LOCK_FREE;
    records = NULL;
    gs_ties_forget();
    records_made = records_room = free_record = 0;
    listed = with_contexts = 0;
}
