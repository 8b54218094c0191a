/* subject_ipc.c -- memory and events of one process in another. */
#define _GNU_SOURCE
#include "recorder.h"
#include "structures.h"
#include "subjects.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <signal.h>
#include <unistd.h>

/* These go by value, 64 bytes on the stack: the only such arguments. */
struct handle {
    char bytes[64];
};
typedef int open_memory(uint64_t *, struct handle, unsigned);
typedef int open_event(uint64_t *, struct handle);

struct letter {
    struct handle memory, event;
};

static int opened_memory(const char *what, uint64_t *address, const struct handle *handle, unsigned flags)
{
    open_memory *call;
    *(void **)&call = driver_symbol("cuIpcOpenMemHandle_v2");
    row_begin("cuIpcOpenMemHandle_v2", what);
    row_end(call ? call(address, *handle, flags) : ROW_ABSENT);
    return book->row[book->count - 1].code;
}

static int opened_event(const char *what, uint64_t *event, const struct handle *handle)
{
    open_event *call;
    *(void **)&call = driver_symbol("cuIpcOpenEventHandle");
    row_begin("cuIpcOpenEventHandle", what);
    row_end(call ? call(event, *handle) : ROW_ABSENT);
    return book->row[book->count - 1].code;
}

static void exported(struct letter *letter, word memory, word event)
{
    word plain = new_event(0), managed = 0, pooled = 0, small = 0;
    static char own[64];
    struct handle handle;
    CALL(cuIpcGetMemHandle, "", A(letter->memory), memory);
    CALL(cuIpcGetMemHandle, "in the middle", A(handle), memory + 4096);
    CALL(cuIpcGetMemHandle, "0", A(handle), 0);
    CALL(cuIpcGetMemHandle, "NULL", 0, memory);
    CALL(cuIpcGetMemHandle, "the program's own memory", A(handle), P(own));
    DO(cuMemAllocManaged, A(managed), MIB, 1);
    CALL(cuIpcGetMemHandle, "managed memory", A(handle), managed);
    DO(cuMemAllocAsync, A(pooled), MIB, 0);
    DO(cuCtxSynchronize);
    CALL(cuIpcGetMemHandle, "stream-ordered memory", A(handle), pooled);
    DO(cuMemAlloc_v2, A(small), 64);
    CALL(cuIpcGetMemHandle, "64 bytes", A(handle), small);
    CALL(cuIpcGetEventHandle, "", A(letter->event), event);
    CALL(cuIpcGetEventHandle, "not interprocess", A(handle), plain);
    CALL(cuIpcGetEventHandle, "NULL", 0, event);
    CALL(cuIpcGetEventHandle, "of NULL", A(handle), 0);
    uint64_t address = 0;
    opened_memory("in the process that made it", &address, &letter->memory, 1);
    opened_event("in the process that made it", &address, &letter->event);
    opened_memory("flags 9", &address, &letter->memory, 9);
    CALL(cuIpcCloseMemHandle, "0", 0);
    CALL(cuIpcCloseMemHandle, "memory of its own", memory);
}

static void peer(const struct letter *letter)
{
    uint64_t address = 0, again = 0, event = 0;
    unsigned char byte = 0;
    float ms = 0;
    if (begin_context() != 0)
        return;
    uint64_t before = free_bytes();
    opened_memory("in another process", &address, &letter->memory, 1);
    VALUE("taken", in_steps((int64_t)(before - free_bytes())));
    CALL(cuMemcpyDtoH_v2, "another process's memory", A(byte), address, 1);
    VALUE("byte", byte);
    opened_memory("again", &again, &letter->memory, 1);
    VALUE("the same", again == address);
    word base = 0;
    size_t bytes = 0;
    CALL(cuMemGetAddressRange_v2, "another process's memory", A(base), A(bytes), address);
    VALUE("bytes", bytes);
    CALL(cuMemFree_v2, "another process's memory", address);
    struct handle handle;
    CALL(cuIpcGetMemHandle, "another process's memory", A(handle), address);
    CALL(cuIpcCloseMemHandle, "", address);
    CALL(cuIpcCloseMemHandle, "again", address);
    CALL(cuIpcCloseMemHandle, "a third time", address);
    opened_event("in another process", &event, &letter->event);
    CALL(cuEventQuery, "another process's", event);
    CALL(cuEventSynchronize, "another process's", event);
    CALL(cuEventElapsedTime, "another process's", A(ms), event, event);
    CALL(cuEventRecord, "another process's", event, 0);
    CALL(cuIpcGetEventHandle, "another process's", A(handle), event);
    CALL(cuEventDestroy_v2, "another process's", event);
}

void record_ipc(void)
{
    struct letter letter = {0};
    int to_peer[2], status = 0;
    word memory = 0, event = 0;
    if (pipe(to_peer) != 0)
        return;
    pid_t child = fork(); /* before any CUDA call */
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(to_peer[1]);
        if (read(to_peer[0], &letter, sizeof(letter)) == (ssize_t)sizeof(letter))
            peer(&letter);
        _exit(0);
    }
    close(to_peer[0]);
    if (begin_context() != 0)
        return;
    DO(cuMemAlloc_v2, A(memory), 4 * MIB);
    DO(cuMemsetD8_v2, memory, 0x5a, 4 * MIB);
    CALL(cuEventCreate, "interprocess", A(event), 6);
    DO(cuEventRecord, event, 0);
    DO(cuCtxSynchronize);
    exported(&letter, memory, event);
    if (write(to_peer[1], &letter, sizeof(letter)) == (ssize_t)sizeof(letter))
        waitpid(child, &status, 0);
    CALL(cuEventQuery, "after another process", event);
    CALL(cuMemFree_v2, "after another process", memory);
    if (WIFSIGNALED(status))
        raise(WTERMSIG(status));
}
