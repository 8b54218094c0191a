/* subject_array.c -- arrays and mipmaps. */
#include "recorder.h"
#include "structures.h"
#include "subjects.h"

enum { U8 = 1, U16 = 2, U32 = 3, S8 = 8, S32 = 10, HALF = 16, FLOAT = 32, NV12 = 0xb0 };
enum { LAYERED = 1, SURFACE = 2, CUBEMAP = 4, GATHER = 8, SPARSE = 0x40 };

static void flat(void)
{
    static const struct {
        const char *what;
        struct array shape;
    } rows[] = {
        {"256 x 256 of float", {256, 256, FLOAT, 1}},
        {"256 of float", {256, 0, FLOAT, 1}},
        {"256 x 256 of 4 floats", {256, 256, FLOAT, 4}},
        {"100 x 100 of 2 halves", {100, 100, HALF, 2}},
        {"1 x 1 of u8", {1, 1, U8, 1}},
        {"64 x 64 of u16", {64, 64, U16, 1}},
        {"64 x 64 of s32", {64, 64, S32, 2}},
        {"64 x 64 of s8", {64, 64, S8, 4}},
        {"3 channels", {256, 256, FLOAT, 3}},
        {"0 channels", {256, 256, FLOAT, 0}},
        {"8 channels", {256, 256, FLOAT, 8}},
        {"format 0", {256, 256, 0, 1}},
        {"format 99", {256, 256, 99, 1}},
        {"0 x 0", {0, 0, FLOAT, 1}},
        {"0 x 16", {0, 16, FLOAT, 1}},
        {"wider than the most", {1 << 28, 1, FLOAT, 1}},
        {"higher than the most", {16, 1 << 28, FLOAT, 1}},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct array said = {0};
        word array = 0;
        if (CALL(cuArrayCreate_v2, rows[i].what, A(array), A(rows[i].shape)) != 0)
            continue;
        CALL(cuArrayGetDescriptor_v2, rows[i].what, A(said), array);
        VALUE("width", said.width);
        VALUE("height", said.height);
        VALUE("format", said.format);
        VALUE("channels", said.channels);
        CALL(cuArrayDestroy, rows[i].what, array);
    }
    word array = 0;
    CALL(cuArrayCreate_v2, "NULL", A(array), 0);
    CALL(cuArrayCreate_v2, "into NULL", 0, A(rows[0].shape));
    CALL(cuArrayDestroy, "NULL", 0);
    CALL(cuArrayGetDescriptor_v2, "of NULL", A(array), 0);
}

static void deep(void)
{
    static const struct {
        const char *what;
        struct array3d shape;
    } rows[] = {
        {"64 x 64 x 64", {64, 64, 64, FLOAT, 1, 0}},
        {"64 x 0 x 0", {64, 0, 0, FLOAT, 1, 0}},
        {"64 x 64 x 0", {64, 64, 0, FLOAT, 1, 0}},
        {"8 layers of 64 x 64", {64, 64, 8, FLOAT, 1, LAYERED}},
        {"8 layers of 64", {64, 0, 8, FLOAT, 1, LAYERED}},
        {"surface", {64, 64, 0, FLOAT, 1, SURFACE}},
        {"gather", {64, 64, 0, FLOAT, 1, GATHER}},
        {"gather of three dimensions", {64, 64, 64, FLOAT, 1, GATHER}},
        {"cube", {64, 64, 6, FLOAT, 1, CUBEMAP}},
        {"cube of 5 faces", {64, 64, 5, FLOAT, 1, CUBEMAP}},
        {"cube that is not square", {64, 32, 6, FLOAT, 1, CUBEMAP}},
        {"2 cubes in layers", {64, 64, 12, FLOAT, 1, CUBEMAP | LAYERED}},
        {"sparse", {1024, 1024, 0, FLOAT, 1, SPARSE}},
        {"flags 0x10000", {64, 64, 0, FLOAT, 1, 0x10000}},
        {"64 x 0 x 64", {64, 0, 64, FLOAT, 1, 0}},
        {"deeper than the most", {16, 16, 1 << 20, FLOAT, 1, 0}},
        {"too many layers", {16, 16, 1 << 16, FLOAT, 1, LAYERED}},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct array3d said = {0};
        word array = 0, plane = 0;
        struct {
            unsigned width, height, depth;
            unsigned mip_first;
            unsigned long long mip_bytes;
            unsigned flags, reserved[4];
        } sparse = {0};
        struct {
            size_t bytes, alignment;
            unsigned reserved[4];
        } needs = {0};
        if (CALL(cuArray3DCreate_v2, rows[i].what, A(array), A(rows[i].shape)) != 0)
            continue;
        CALL(cuArray3DGetDescriptor_v2, rows[i].what, A(said), array);
        VALUE("width", said.width);
        VALUE("height", said.height);
        VALUE("depth", said.depth);
        VALUE("flags", said.flags);
        CALL(cuArrayGetSparseProperties, rows[i].what, A(sparse), array);
        VALUE("tile width", sparse.width);
        VALUE("tile height", sparse.height);
        CALL(cuArrayGetMemoryRequirements, rows[i].what, A(needs), array, 0);
        CALL(cuArrayGetPlane, rows[i].what, A(plane), array, 0);
        CALL(cuArrayDestroy, rows[i].what, array);
    }
}

static void mipmaps(void)
{
    struct array3d shape = {64, 64, 0, FLOAT, 1, 0}, said = {0};
    word mipmap = 0, level = 0;
    for (unsigned levels = 0; levels <= 9; levels += levels == 1 ? 6 : 1) {
        mipmap = 0;
        CALL(cuMipmappedArrayCreate, text_of("64 x 64, %u levels", levels), A(mipmap), A(shape), levels);
        if (!mipmap)
            continue;
        for (unsigned i = 0; i <= 8; i += 4) {
            level = 0;
            if (CALL(cuMipmappedArrayGetLevel, text_of("%u of %u", i, levels), A(level), mipmap, i) != 0)
                continue;
            CALL(cuArray3DGetDescriptor_v2, text_of("level %u of %u", i, levels), A(said), level);
            VALUE("width", said.width);
            VALUE("height", said.height);
        }
        CALL(cuMipmappedArrayDestroy, text_of("%u levels", levels), mipmap);
    }
    CALL(cuMipmappedArrayCreate, "NULL", A(mipmap), 0, 1);
    CALL(cuMipmappedArrayCreate, "into NULL", 0, A(shape), 1);
    CALL(cuMipmappedArrayDestroy, "NULL", 0);
    CALL(cuMipmappedArrayGetLevel, "of NULL", A(level), 0, 0);
}

static void copies(void)
{
    static float from[64 * 64], to[64 * 64];
    struct array shape = {64, 64, FLOAT, 1}, line = {256, 0, FLOAT, 1};
    struct array3d box = {16, 16, 4, FLOAT, 1, 0};
    word array = 0, row = 0, deep = 0, memory = 0;
    for (int i = 0; i < 64 * 64; i++)
        from[i] = (float)i;
    DO(cuArrayCreate_v2, A(array), A(shape));
    DO(cuArrayCreate_v2, A(row), A(line));
    DO(cuArray3DCreate_v2, A(deep), A(box));
    DO(cuMemAlloc_v2, A(memory), 64 * KIB);
    CALL(cuMemcpyHtoA_v2, "a line", row, 0, P(from), 1024);
    CALL(cuMemcpyHtoA_v2, "beyond the end", row, 512, P(from), 1024);
    CALL(cuMemcpyAtoH_v2, "a line", P(to), row, 0, 1024);
    VALUE("last", (int)to[255]);
    CALL(cuMemcpyAtoD_v2, "a line", memory, row, 0, 1024);
    CALL(cuMemcpyDtoA_v2, "a line", row, 0, memory, 1024);
    CALL(cuMemcpyAtoA_v2, "within a line", row, 512, row, 0, 256);
    CALL(cuMemcpyHtoA_v2, "two dimensions", array, 0, P(from), 256);
    struct copy2d copy = {.from = {.type = HOST, .host = from, .pitch = 256},
                          .to = {.type = ARRAY, .array = array},
                          .width = 256,
                          .height = 64};
    CALL(cuMemcpy2D_v2, "host to array", A(copy));
    struct copy2d back = {.from = {.type = ARRAY, .array = array, .x = 4, .y = 1},
                          .to = {.type = HOST, .host = to, .pitch = 256},
                          .width = 252,
                          .height = 63};
    CALL(cuMemcpy2D_v2, "array to host, not from its corner", A(back));
    VALUE("first", (int)to[0]);
    copy.height = 65;
    CALL(cuMemcpy2D_v2, "more rows than the array has", A(copy));
    copy.height = 64;
    copy.to.array = 0;
    CALL(cuMemcpy2D_v2, "array NULL", A(copy));
    struct copy3d whole = {.from = {.type = HOST, .host = from, .pitch = 64, .height = 16},
                           .to = {.type = ARRAY, .array = deep},
                           .width = 64,
                           .height = 16,
                           .depth = 4};
    CALL(cuMemcpy3D_v2, "host to array", A(whole));
    whole.depth = 5;
    CALL(cuMemcpy3D_v2, "deeper than the array", A(whole));
    CALL(cuArrayDestroy, "", array);
}

void record_array(void)
{
    flat();
    deep();
    mipmaps();
    copies();
}
