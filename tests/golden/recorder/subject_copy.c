/* subject_copy.c -- copies of linear memory of every shape. */
#include "recorder.h"
#include "structures.h"
#include "subjects.h"

#include <string.h>

static unsigned char here[64 * KIB], there[64 * KIB];

static void straight(word a, word b)
{
    CALL(cuMemcpyHtoD_v2, "", a, P(here), sizeof(here));
    CALL(cuMemcpyDtoD_v2, "", b, a, sizeof(here));
    CALL(cuMemcpyDtoH_v2, "", P(there), b, sizeof(there));
    VALUE("the same", memcmp(here, there, sizeof(here)) == 0);
    CALL(cuMemcpyHtoD_v2, "0 bytes", a, P(here), 0);
    CALL(cuMemcpyHtoD_v2, "0 bytes to 0", 0, P(here), 0);
    CALL(cuMemcpyHtoD_v2, "to 0", 0, P(here), 16);
    CALL(cuMemcpyHtoD_v2, "from NULL", a, 0, 16);
    CALL(cuMemcpyDtoH_v2, "into NULL", 0, a, 16);
    CALL(cuMemcpyDtoH_v2, "from 0", P(there), 0, 16);
    CALL(cuMemcpyDtoD_v2, "from 0", a, 0, 16);
    CALL(cuMemcpyDtoD_v2, "onto itself", a, a, 1024);
    CALL(cuMemcpy, "host to device", a, P(here), 1024);
    CALL(cuMemcpy, "device to host", P(there), a, 1024);
    CALL(cuMemcpy, "host to host", P(there), P(here), 1024);
    CALL(cuMemcpy, "0 bytes of nothing", 0, 0, 0);
    CALL(cuMemcpyAsync, "device to device", a, b, 1024, 0);
    CALL(cuMemcpyAsync, "host to host", P(there), P(here), 1024, 0);
    CALL(cuMemcpyHtoDAsync_v2, "", a, P(here), 1024, 0);
    CALL(cuMemcpyDtoHAsync_v2, "", P(there), a, 1024, 0);
    CALL(cuMemcpyDtoDAsync_v2, "", a, b, 1024, 0);
    CALL(cuMemcpyHtoDAsync_v2, "0 bytes", a, P(here), 0, 0);
    word context = 0;
    DO(cuCtxGetCurrent, A(context));
    CALL(cuMemcpyPeer, "to itself", a, context, b, context, 1024);
    CALL(cuMemcpyPeer, "0 bytes", a, context, b, context, 0);
    CALL(cuMemcpyPeer, "context NULL", a, 0, b, context, 1024);
    CALL(cuMemcpyPeerAsync, "to itself", a, context, b, context, 1024, 0);
    CALL(cuCtxSynchronize, "after all of these");
}

static struct copy2d plain(word device)
{
    return (struct copy2d){.from = {.type = HOST, .host = here, .pitch = 128},
                           .to = {.type = DEVICE, .device = device, .pitch = 512},
                           .width = 100,
                           .height = 64};
}

static void rectangles(word a)
{
    struct copy2d copy = plain(a);
    CALL(cuMemcpy2D_v2, "host to device", A(copy));
    copy.width = 0;
    CALL(cuMemcpy2D_v2, "0 wide", A(copy));
    copy = plain(a);
    copy.height = 0;
    CALL(cuMemcpy2D_v2, "0 high", A(copy));
    copy = plain(a);
    copy.from.pitch = 50;
    CALL(cuMemcpy2D_v2, "pitch of the source below the width", A(copy));
    copy = plain(a);
    copy.to.pitch = 50;
    CALL(cuMemcpy2D_v2, "pitch of the destination below the width", A(copy));
    copy = plain(a);
    copy.to.pitch = 0;
    CALL(cuMemcpy2D_v2, "pitch 0", A(copy));
    copy = plain(a);
    copy.from.x = 64;
    CALL(cuMemcpy2D_v2, "pitch below offset and width", A(copy));
    copy = plain(a);
    copy.from.type = 9;
    CALL(cuMemcpy2D_v2, "type 9", A(copy));
    copy = plain(a);
    copy.from.type = 0;
    CALL(cuMemcpy2D_v2, "type 0", A(copy));
    copy = plain(a);
    copy.from = (struct side2d){.type = UNIFIED, .device = P(here), .pitch = 128};
    CALL(cuMemcpy2D_v2, "unified", A(copy));
    copy = plain(a);
    copy.from.host = NULL;
    CALL(cuMemcpy2D_v2, "from NULL", A(copy));
    copy = plain(0);
    CALL(cuMemcpy2D_v2, "to 0", A(copy));
    copy = plain(a);
    copy.to.pitch = 1ull << 32;
    copy.height = 1;
    CALL(cuMemcpy2D_v2, "pitch above the most", A(copy));
    CALL(cuMemcpy2D_v2, "NULL", 0);
    copy = plain(a);
    copy.to.pitch = 101;
    CALL(cuMemcpy2D_v2, "odd pitch", A(copy));
    CALL(cuMemcpy2DUnaligned_v2, "odd pitch", A(copy));
    CALL(cuMemcpy2DAsync_v2, "odd pitch", A(copy), 0);
}

static void boxes(word a)
{
    struct copy3d copy = {.from = {.type = HOST, .host = here, .pitch = 64, .height = 16},
                          .to = {.type = DEVICE, .device = a, .pitch = 64, .height = 16},
                          .width = 64,
                          .height = 16,
                          .depth = 4};
    CALL(cuMemcpy3D_v2, "host to device", A(copy));
    copy.depth = 0;
    CALL(cuMemcpy3D_v2, "0 deep", A(copy));
    copy.depth = 4;
    copy.from.height = 8;
    CALL(cuMemcpy3D_v2, "height of the source below the height", A(copy));
    copy.from.height = 16;
    copy.from.pitch = 32;
    CALL(cuMemcpy3D_v2, "pitch of the source below the width", A(copy));
    copy.from.pitch = 64;
    copy.from.level = 1;
    CALL(cuMemcpy3D_v2, "level 1", A(copy));
    copy.from.level = 0;
    CALL(cuMemcpy3DAsync_v2, "host to device", A(copy), 0);
    CALL(cuMemcpy3D_v2, "NULL", 0);
    CALL(cuMemcpy3DPeer, "no contexts", A(copy));
    DO(cuCtxGetCurrent, A(copy.from.context));
    copy.to.context = copy.from.context;
    CALL(cuMemcpy3DPeer, "", A(copy));
    CALL(cuMemcpy3DPeerAsync, "", A(copy), 0);
    CALL(cuMemcpy3DPeer, "NULL", 0);
}

static void batches(word a, word b)
{
    word to[2] = {a, a + 4096}, from[2] = {b, b + 4096};
    size_t sizes[2] = {1024, 1024}, first[1] = {0}, failed = 99;
    struct {
        int order;
        struct location from, to;
        unsigned flags;
    } how = {1, {0, 0}, {0, 0}, 0};
    word stream = new_stream(1);
    CALL(cuMemcpyBatchAsync, "two", P(to), P(from), P(sizes), 2, A(how), P(first), 1, A(failed), stream);
    CALL(cuMemcpyBatchAsync, "none", P(to), P(from), P(sizes), 0, A(how), P(first), 1, A(failed), stream);
    CALL(cuMemcpyBatchAsync, "no attributes", P(to), P(from), P(sizes), 2, A(how), P(first), 0, A(failed),
         stream);
    CALL(cuMemcpyBatchAsync, "stream 0", P(to), P(from), P(sizes), 2, A(how), P(first), 1, A(failed), 0);
    CALL(cuMemcpyBatchAsync, "NULL", 0, 0, 0, 2, A(how), P(first), 1, A(failed), stream);
    how.order = 9;
    CALL(cuMemcpyBatchAsync, "order 9", P(to), P(from), P(sizes), 2, A(how), P(first), 1, A(failed), stream);
    CALL(cuStreamSynchronize, "after the batches", stream);
}

void record_copy(void)
{
    word a = 0, b = 0;
    for (size_t i = 0; i < sizeof(here); i++)
        here[i] = (unsigned char)(i * 7);
    DO(cuMemAlloc_v2, A(a), sizeof(here));
    DO(cuMemAlloc_v2, A(b), sizeof(here));
    straight(a, b);
    rectangles(a);
    boxes(a);
    batches(a, b);
}
