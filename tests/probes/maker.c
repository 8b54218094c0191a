/* maker.c -- another process, which has memory that this one imports: a child, forked before any CUDA call. */
#define _GNU_SOURCE
#include "maker.h"

#include "probe.h"

#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <signal.h>
#include <unistd.h>

struct answer {
    int code;
    char said[64];
};

static int line = -1; /* to the other one */
static bool has_made;

static bool send_answer(const struct answer *answer, int descriptor)
{
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec bytes = {(void *)(uintptr_t)answer, sizeof(*answer)};
    struct msghdr message = {.msg_iov = &bytes, .msg_iovlen = 1};
    if (descriptor >= 0) {
        message.msg_control = &control;
        message.msg_controllen = sizeof(control);
        control.head = (struct cmsghdr){
            .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(&control.head), &descriptor, sizeof(int));
    }
    return sendmsg(line, &message, 0) == (ssize_t)sizeof(*answer);
}

static bool receive_answer(struct answer *answer, int *descriptor)
{
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec bytes = {answer, sizeof(*answer)};
    struct msghdr message = {
        .msg_iov = &bytes, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
    if (recvmsg(line, &message, 0) != (ssize_t)sizeof(*answer))
        return false;
    *descriptor = -1;
    if (message.msg_controllen)
        memcpy(descriptor, CMSG_DATA(&control.head), sizeof(int));
    return true;
}

/* -------- what it makes -------- */

static word physical_handle, pool_handle, pool_memory;
static int exported = -1;

static int make_physical(void)
{
    struct allocation wanted = {.type = 1, .handle_types = 1, .location = {1, device}};
    return DO(cuMemCreate, A(physical_handle), PIECE, A(wanted), 0)
               ?: DO(cuMemExportToShareableHandle, A(exported), physical_handle, 1, 0);
}

static int make_linear(char *said)
{
    word address = 0;
    return DO(cuMemAlloc_v2, A(address), PIECE) ?: DO(cuIpcGetMemHandle, P(said), address);
}

static int make_pool(char *said)
{
    struct pool wanted = {.type = 1, .handle_types = 1, .location = {1, device}};
    return DO(cuMemPoolCreate, A(pool_handle), A(wanted))
               ?: DO(cuMemPoolExportToShareableHandle, A(exported), pool_handle, 1, 0)
               ?: DO(cuMemAllocFromPoolAsync, A(pool_memory), PIECE, pool_handle, 0)
               ?: DO(cuMemPoolExportPointer, P(said), pool_memory)
               ?: DO(cuCtxSynchronize);
}

static int make(const char *what, char *said)
{
    word context = 0;
    int code = DO(cuInit, 0) ?: DO(cuDevicePrimaryCtxRetain, A(context), (word)device)
                                ?: DO(cuCtxSetCurrent, context);
    if (code)
        return code;
    if (strcmp(what, "physical") == 0)
        return make_physical();
    return strcmp(what, "linear") == 0 ? make_linear(said) : make_pool(said);
}

static void forget(void)
{
    if (exported >= 0)
        close(exported);
    exported = -1;
    if (physical_handle)
        DO(cuMemRelease, physical_handle);
    if (pool_memory)
        DO(cuMemFree_v2, pool_memory);
    if (pool_handle)
        DO(cuMemPoolDestroy, pool_handle);
    DO(cuDevicePrimaryCtxRelease_v2, (word)device); /* and linear memory with it */
    physical_handle = pool_handle = pool_memory = 0;
}

static void serve(void)
{
    struct answer answer;
    char what[16];
    while (recv(line, what, sizeof(what), 0) > 0) {
        memset(&answer, 0, sizeof(answer));
        if (strcmp(what, "forget") == 0)
            forget();
        else
            answer.code = make(what, answer.said);
        if (!send_answer(&answer, exported))
            break;
    }
    _exit(0);
}

/* -------- this side -------- */

void maker_start(void)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
        exit(3);
    pid_t child = fork();
    if (child < 0)
        exit(3);
    line = pair[child == 0];
    close(pair[child != 0]);
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        serve();
    }
}

static int ask(const char *what, struct answer *answer, int *descriptor)
{
    char text[16] = {0};
    strncpy(text, what, sizeof(text) - 1);
    if (send(line, text, sizeof(text), 0) != (ssize_t)sizeof(text) || !receive_answer(answer, descriptor))
        return FAILED;
    return answer->code;
}

int maker_make(const char *what, void *said, size_t bytes, int *descriptor)
{
    struct answer answer = {0};
    int code = ask(what, &answer, descriptor);
    has_made = true;
    if (said)
        memcpy(said, answer.said, bytes < sizeof(answer.said) ? bytes : sizeof(answer.said));
    return code;
}

void maker_forget(void)
{
    struct answer answer;
    int descriptor;
    if (has_made)
        ask("forget", &answer, &descriptor);
    has_made = false;
}
