/* physical.c -- physical memory and all that keeps it, and memory of other processes of the same program. */
#include "doors.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define GRAIN ((uint64_t)2 << 20)

enum { MOST_HOPS = 2, TILE_POOL = 1, POSIX_FD = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR };

static int receiving = -1, sending = -1;

/* What goes from process to process; a descriptor may be with it. */
struct letter {
    enum kind kind;
    CUdevice device;
    uint64_t bytes;
    uint64_t hops; /* from process to process so far */
    CUipcMemHandle handle;
};

void mailbox(int receiver, int sender)
{
    receiving = receiver;
    sending = sender;
}

void physical_make(struct actor *a)
{
    struct held made = {
        .kind = HANDLE, .device = a->at->device, .home = NOWHERE, .bytes = GRAIN << below(a, 6)};
    CUmemAllocationProp prop = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                .requestedHandleTypes = below(a, 2) ? POSIX_FD : 0,
                                .location = {CU_MEM_LOCATION_TYPE_DEVICE, made.device}};

    if (one_in(a, 5))
        prop.location = (CUmemLocation){CU_MEM_LOCATION_TYPE_HOST, 0};
    if (one_in(a, 4))
        prop.allocFlags.usage = TILE_POOL;
    if (one_in(a, 10))
        made.bytes += 1 + below(a, 4096);
    if (DO(cuMemCreate, &made.memory, made.bytes, &prop, 0) == CUDA_SUCCESS)
        keep(&made);
}

void physical_release(struct actor *a)
{
    struct held held;

    if (take(a, HANDLE, ANYWHERE, -1, &held))
        let_go(a, &held);
}

/* At an address of its own, perhaps twice. */
void physical_map(struct actor *a)
{
    unsigned times = 1 + below(a, 2), done = 0;
    CUdeviceptr start;
    struct held held;

    if (!take(a, one_in(a, 8) ? MULTICAST : HANDLE, ANYWHERE, -1, &held))
        return;
    if (DO(cuMemAddressReserve, &start, times * held.bytes, 0, 0, 0) == CUDA_SUCCESS) {
        while (done < times &&
               DO(cuMemMap, start + done * held.bytes, held.bytes, 0, held.handle, 0) == CUDA_SUCCESS)
            done++;
        if (!done)
            DO(cuMemAddressFree, start, times * held.bytes);
        else
            keep(&(struct held){.kind = MAPPING,
                                .device = held.device,
                                .home = NOWHERE,
                                .handle = start,
                                .bytes = done * held.bytes,
                                .address = {times * held.bytes}});
    }
    keep(&held);
}

void physical_unmap(struct actor *a)
{
    struct held held;

    if (take(a, MAPPING, ANYWHERE, -1, &held))
        let_go(a, &held);
}

void physical_retain(struct actor *a)
{
    struct held held, again = {.kind = HANDLE, .home = NOWHERE};

    if (!take(a, MAPPING, ANYWHERE, -1, &held))
        return;
    again.device = held.device;
    again.bytes = GRAIN;
    again.address[0] = MOST_HOPS;
    if (DO(cuMemRetainAllocationHandle, &again.memory, (void *)held.handle) == CUDA_SUCCESS)
        keep(&again);
    keep(&held);
}

void multicast_bind(struct actor *a)
{
    CUmulticastObjectProp prop = {.numDevices = 1, .size = 8 * GRAIN};
    struct held object, memory;

    if (!take(a, MULTICAST, ANYWHERE, -1, &object)) {
        object =
            (struct held){.kind = MULTICAST, .device = a->at->device, .home = NOWHERE, .bytes = prop.size};
        if (DO(cuMulticastCreate, &object.memory, &prop))
            return;
        if (DO(cuMulticastAddDevice, object.handle, object.device)) {
            let_go(a, &object);
            return;
        }
    }
    if (one_in(a, 2)) {
        DO(cuMulticastUnbind, object.handle, object.device, below(a, 8) * GRAIN, GRAIN);
    } else if (take(a, HANDLE, ANYWHERE, object.device, &memory)) {
        DO(cuMulticastBindMem, object.handle, below(a, 8) * GRAIN, memory.handle, 0, GRAIN, 0);
        keep(&memory);
    }
    keep(&object);
}

/* -------- between processes -------- */

static void post(const struct letter *letter, int fd)
{
    char room[CMSG_SPACE(sizeof fd)] = {0};
    struct iovec part = {(void *)letter, sizeof *letter};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    struct cmsghdr *with;

    if (fd >= 0) {
        message.msg_control = room;
        message.msg_controllen = sizeof room;
        with = CMSG_FIRSTHDR(&message);
        *with = (struct cmsghdr){
            .cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(with), &fd, sizeof fd);
    }
    sendmsg(sending, &message, MSG_DONTWAIT);
}

static bool next_letter(struct letter *letter, int *fd)
{
    char room[CMSG_SPACE(sizeof *fd)] = {0};
    struct iovec part = {letter, sizeof *letter};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};

    *fd = -1;
    if (recvmsg(receiving, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) != sizeof *letter)
        return false;
    if (CMSG_FIRSTHDR(&message))
        memcpy(fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof *fd);
    return true;
}

void physical_share(struct actor *a)
{
    struct letter letter = {0};
    struct held held;
    int fd;

    if (sending < 0)
        return;
    if (a->at == &places[a->at->device * PLACES_PER_DEVICE] && one_in(a, 2) &&
        take(a, LINEAR, home_of(a->at), -1, &held)) {
        if (DO(cuIpcGetMemHandle, &letter.handle, held.handle) == CUDA_SUCCESS) {
            held.kind = EXPORTED;
            letter.kind = LINEAR;
            letter.device = held.device;
            keep(&held);
            post(&letter, -1);
            return;
        }
    } else if (take(a, HANDLE, ANYWHERE, -1, &held)) {
        letter = (struct letter){
            .kind = HANDLE, .device = held.device, .bytes = held.bytes, .hops = held.address[0] + 1};
        if (letter.hops <= MOST_HOPS &&
            DO(cuMemExportToShareableHandle, &fd, held.handle, POSIX_FD, 0) == CUDA_SUCCESS) {
            post(&letter, fd);
            close(fd);
        }
    } else {
        return;
    }
    keep(&held);
}

static void bring_external(struct actor *a, const struct letter *letter, int fd)
{
    CUDA_EXTERNAL_MEMORY_HANDLE_DESC desc = {.type = 1, .handle.fd = fd, .size = letter->bytes};
    CUDA_EXTERNAL_MEMORY_BUFFER_DESC all = {.size = letter->bytes};
    struct held made = {.kind = EXTERNAL, .device = letter->device, .home = NOWHERE};
    struct held buffer = {.kind = LINEAR, .device = letter->device, .home = home_of(a->at)};

    if (DO(cuImportExternalMemory, (CUexternalMemory *)&made.handle, &desc)) {
        close(fd);
        return;
    }
    if (DO(cuExternalMemoryGetMappedBuffer, &buffer.handle, (CUexternalMemory)made.handle, &all) ==
        CUDA_SUCCESS)
        keep(&buffer);
    keep(&made);
}

void receive(struct actor *a)
{
    struct held made = {.home = NOWHERE};
    struct letter letter;
    int fd;

    if (receiving < 0 || !next_letter(&letter, &fd))
        return;
    made.device = letter.device;
    made.bytes = letter.bytes;
    if (letter.kind == LINEAR) {
        made.kind = OPENED;
        made.home = home_of(a->at);
        if (DO(cuIpcOpenMemHandle_v2, &made.handle, letter.handle, 1) == CUDA_SUCCESS)
            keep(&made);
    } else if (one_in(a, 3)) {
        bring_external(a, &letter, fd);
    } else {
        made.kind = HANDLE;
        made.address[0] = letter.hops;
        if (DO(cuMemImportFromShareableHandle, &made.memory, (void *)(intptr_t)fd, POSIX_FD) == CUDA_SUCCESS)
            keep(&made);
        close(fd);
    }
}

void close_import(struct actor *a)
{
    struct held held;

    if (take(a, OPENED, home_of(a->at), -1, &held) || take(a, EXTERNAL, ANYWHERE, -1, &held))
        let_go(a, &held);
}

bool end_physical(struct actor *a, const struct held *held)
{
    if (held->kind == EXTERNAL)
        return DO(cuDestroyExternalMemory, (CUexternalMemory)held->handle) == CUDA_SUCCESS;
    if (held->kind != MAPPING)
        return DO(cuMemRelease, held->handle) == CUDA_SUCCESS;
    if (DO(cuMemUnmap, held->handle, held->bytes))
        return false;
    DO(cuMemAddressFree, held->handle, held->address[0]);
    return true;
}
