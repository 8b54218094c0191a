/* code.c -- modules and libraries: what their code and their variables take. */
#define _GNU_SOURCE
#include "probe.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PTX_INPUT = 1 };

/* Variables of 4 MiB, zeroed, and of 1 MiB that the host shares; a kernel that uses neither. */
static const char image[] = ".version 6.0\n.target sm_50\n.address_size 64\n"
                            ".visible .global .align 4 .b8 variable[4194304];\n"
                            ".visible .global .attribute(.managed) .align 4 .b8 shared_one[1048576];\n"
                            ".visible .entry none() { ret; }\n";

/* -------- modules -------- */

int module(const struct door *door)
{
    return CALL(door->name, A(held.object), P(image));
}

int module_with_options(const struct door *door)
{
    return CALL(door->name, A(held.object), P(image), 0, 0, 0);
}

/* The image as a file without a place in any folder. */
static int with_file(int (*load)(const char *name, word file), const char *name)
{
    char path[32];
    int file = memfd_create("image", 0);
    if (file < 0 || write(file, image, sizeof(image) - 1) != (ssize_t)sizeof(image) - 1)
        return FAILED;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
    int code = load(name, P(path));
    close(file);
    return code;
}

static int load_module(const char *name, word path)
{
    return CALL(name, A(held.object), path);
}

int module_of_file(const struct door *door)
{
    return with_file(load_module, door->name);
}

/* A fat binary whose only part is the text, for any GPU. */
int module_of_fat_binary(const struct door *door)
{
    static struct {
        struct {
            uint32_t magic;
            uint16_t version, bytes;
            uint64_t rest;
        } head;
        struct {
            uint16_t kind, version;
            uint32_t bytes;
            uint64_t size;
            uint32_t packed, reserved;
            uint16_t minor, major;
            uint32_t arch, name_at, name_bytes;
            uint64_t flags, zero, unpacked;
        } part;
        char text[(sizeof(image) + 7) / 8 * 8];
    } fat = {{0xba55ed50, 1, 16, sizeof(fat) - 16},
             {1, 0x101, 64, sizeof(fat.text), 0, 0, 0, 6, 50, 0, 0, 0, 0, 0},
             ""};
    memcpy(fat.text, image, sizeof(image));
    return CALL(door->name, A(held.object), P(&fat));
}

/* What the driver's own linker makes. */
int module_linked(const struct door *door)
{
    word state = 0, bytes = 0;
    void *made = NULL;
    int code = DO(cuLinkCreate_v2, 0, 0, 0, A(state))
                   ?: DO(cuLinkAddData_v2, state, PTX_INPUT, P(image), sizeof(image), P("image"), 0, 0, 0)
                   ?: CALL(door->name, state, A(made), A(bytes))
                   ?: DO(cuModuleLoadData, A(held.object), P(made));
    if (state)
        DO(cuLinkDestroy, state);
    return code;
}

int unload_module(const struct way *way)
{
    return CALL(way->name, held.object);
}

/* -------- libraries: loaded into no context, and into each one at the first use there -------- */

static int used_here(void)
{
    word address = 0, bytes = 0;
    return DO(cuLibraryGetGlobal, A(address), A(bytes), held.object, P("variable"));
}

int library(const struct door *door)
{
    return CALL(door->name, A(held.object), P(image), 0, 0, 0, 0, 0, 0) ?: used_here();
}

static int load_library(const char *name, word path)
{
    return CALL(name, A(held.object), path, 0, 0, 0, 0, 0, 0);
}

int library_of_file(const struct door *door)
{
    return with_file(load_library, door->name) ?: used_here();
}

int library_there(void)
{
    return DO(cuLibraryLoadData, A(held.object), P(image), 0, 0, 0, 0, 0, 0);
}

int unload_library(const struct way *way)
{
    return CALL(way->name, held.object);
}

int library_as_module(const struct door *door)
{
    word as_module = 0;
    return CALL(door->name, A(as_module), held.object);
}

int library_variable(const struct door *door)
{
    word address = 0, bytes = 0;
    return CALL(door->name, A(address), A(bytes), held.object, P("variable"));
}

int library_managed(const struct door *door)
{
    word address = 0, bytes = 0;
    return CALL(door->name, A(address), A(bytes), held.object, P("shared_one"));
}

static int kernel(word *found)
{
    return DO(cuLibraryGetKernel, P(found), held.object, P("none"));
}

int library_function(const struct door *door)
{
    word found = 0, function = 0;
    return kernel(&found) ?: CALL(door->name, A(function), found);
}

int library_function_loaded(const struct door *door)
{
    word found = 0, function = 0;
    return kernel(&found) ?: DO(cuKernelGetFunction, A(function), found) ?: CALL(door->name, function);
}

/* A kernel may be launched as it is, in any context. */
int library_launched(const struct door *door)
{
    word found = 0;
    return kernel(&found) ?: CALL(door->name, found, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0) ?: DO(cuCtxSynchronize);
}
