/* subject_module.c -- modules, linking, and the attributes of functions. */
#include "kernels.h"
#include "recorder.h"
#include "structures.h"
#include "subjects.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void loading(void)
{
    static const char *const bad[][2] = {
        {"empty", ""},
        {"garbage", "garbage"},
        {"no target", ".version 6.0\n.visible .entry k() { ret; }\n"},
        {"no such instruction",
         ".version 6.0\n.target sm_50\n.address_size 64\n.visible .entry k() { frob; }\n"},
        {"no closing brace", ".version 6.0\n.target sm_50\n.address_size 64\n.visible .entry k() { ret;\n"},
        {"version 99.0", ".version 99.0\n.target sm_50\n.address_size 64\n.visible .entry k() { ret; }\n"},
        {"target sm_999", ".version 6.0\n.target sm_999\n.address_size 64\n.visible .entry k() { ret; }\n"},
        {"no entry", ".version 6.0\n.target sm_50\n.address_size 64\n"},
    };
    word module = 0;
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        CALL(cuModuleLoadData, bad[i][0], A(module), P(bad[i][1]));
    CALL(cuModuleLoadData, "NULL", A(module), 0);
    CALL(cuModuleLoadData, "into NULL", 0, P(KERNELS));
    char log[1024] = "", errors[1024] = "";
    int options[] = {3, 4, 5, 6, 7};
    void *values[] = {log, (void *)sizeof(log), errors, (void *)sizeof(errors), (void *)4};
    CALL(cuModuleLoadDataEx, "with logs", A(module), P(KERNELS), 5, P(options), P(values));
    VALUE("no errors", errors[0] == 0);
    CALL(cuModuleUnload, "with logs", module);
    CALL(cuModuleLoadDataEx, "garbage, with logs", A(module), P("garbage"), 5, P(options), P(values));
    options[0] = 999;
    CALL(cuModuleLoadDataEx, "option 999", A(module), P(KERNELS), 1, P(options), P(values));
    CALL(cuModuleLoadDataEx, "options NULL", A(module), P(KERNELS), 5, 0, 0);
    CALL(cuModuleLoadDataEx, "no options", A(module), P(KERNELS), 0, 0, 0);
    CALL(cuModuleUnload, "", module);
    CALL(cuModuleUnload, "NULL", 0);
    CALL(cuModuleLoadFatBinary, "garbage", A(module), P("garbage garbage garbage garbage"));
    CALL(cuModuleLoad, "no such file", A(module), P("/nonexistent/file.cubin"));
    CALL(cuModuleLoad, "a folder", A(module), P("/"));
    CALL(cuModuleLoad, "NULL", A(module), 0);
    char path[64];
    snprintf(path, sizeof(path), "/tmp/recorder-%d.ptx", getpid());
    FILE *file = fopen(path, "w");
    if (file) {
        fputs(KERNELS, file);
        fclose(file);
        CALL(cuModuleLoad, "a file of PTX", A(module), P(path));
        unlink(path);
        DO(cuModuleUnload, module);
    }
    int mode = 0;
    CALL(cuModuleGetLoadingMode, "", A(mode));
    VALUE("mode", mode);
    CALL(cuModuleGetLoadingMode, "NULL", 0);
}

static void contents(void)
{
    word module = 0, function = 0, address = 0;
    size_t bytes = 0;
    unsigned count = 0;
    CALL(cuModuleLoadData, "", A(module), P(KERNELS));
    CALL(cuModuleGetFunction, "", A(function), module, P("spin"));
    CALL(cuModuleGetFunction, "no such", A(function), module, P("no such"));
    CALL(cuModuleGetFunction, "empty", A(function), module, P(""));
    CALL(cuModuleGetFunction, "NULL", A(function), module, 0);
    CALL(cuModuleGetFunction, "into NULL", 0, module, P("spin"));
    CALL(cuModuleGetFunction, "of NULL", A(function), 0, P("spin"));
    CALL(cuModuleGetFunction, "a variable's name", A(function), module, P("variable"));
    CALL(cuModuleGetFunctionCount, "", A(count), module);
    VALUE("count", count);
    CALL(cuModuleGetFunctionCount, "NULL", 0, module);
    word functions[8] = {0};
    CALL(cuModuleEnumerateFunctions, "", P(functions), 8, module);
    CALL(cuModuleEnumerateFunctions, "one", P(functions), 1, module);
    CALL(cuModuleEnumerateFunctions, "NULL", 0, 8, module);
    CALL(cuModuleGetGlobal_v2, "", A(address), A(bytes), module, P("variable"));
    VALUE("bytes", bytes);
    CALL(cuModuleGetGlobal_v2, "a constant", A(address), A(bytes), module, P("constant"));
    VALUE("bytes", bytes);
    CALL(cuModuleGetGlobal_v2, "address into NULL", 0, A(bytes), module, P("variable"));
    CALL(cuModuleGetGlobal_v2, "bytes into NULL", A(address), 0, module, P("variable"));
    CALL(cuModuleGetGlobal_v2, "both into NULL", 0, 0, module, P("variable"));
    CALL(cuModuleGetGlobal_v2, "no such", A(address), A(bytes), module, P("no such"));
    CALL(cuModuleGetGlobal_v2, "NULL", A(address), A(bytes), module, 0);
    CALL(cuModuleGetGlobal_v2, "a function's name", A(address), A(bytes), module, P("spin"));
    CALL(cuModuleGetTexRef, "no such", A(address), module, P("no such"));
    CALL(cuModuleGetSurfRef, "no such", A(address), module, P("no such"));
    DO(cuModuleGetGlobal_v2, A(address), A(bytes), module, P("variable"));
    CALL(cuMemsetD8_v2, "of a variable", address, 5, 4096);
    CALL(cuMemFree_v2, "of a variable", address);
    CALL(cuModuleUnload, "with a variable", module);
}

static void attributes(void)
{
    static const char *const names[] = {"spin", "many", "none", "narrow", "shares"};
    int value = 0;
    for (size_t n = 0; n < sizeof(names) / sizeof(*names); n++) {
        word function = kernel_named(names[n]);
        for (unsigned i = 0; i <= 16; i++) {
            CALL(cuFuncGetAttribute, text_of("%u of %s", i, names[n]), A(value), i, function);
            if (i <= 3 || i >= 8) /* registers and the versions are the compiler's affair */
                VALUE("value", value);
            else
                DEVICE_VALUE("value", i == 4 ? value > 0 : value);
        }
        const char *name = NULL;
        size_t offset = 99, bytes = 99;
        CALL(cuFuncGetName, names[n], A(name), function);
        TEXT("name", name);
        for (unsigned i = 0; i <= 4; i++) {
            CALL(cuFuncGetParamInfo, text_of("%u of %s", i, names[n]), function, i, A(offset), A(bytes));
            VALUE("offset", offset);
            VALUE("bytes", bytes);
        }
    }
    word function = kernel_named("shares"), module = 0;
    for (unsigned i = 0; i <= 16; i++) {
        CALL(cuFuncSetAttribute, text_of("%u to 1", i), function, i, 1);
        CALL(cuFuncSetAttribute, text_of("%u to -1", i), function, i, (word)-1);
    }
    CALL(cuFuncSetAttribute, "8 to 40000", function, 8, 40000);
    CALL(cuFuncSetAttribute, "8 to 1 GiB", function, 8, 1 << 30);
    CALL(cuFuncGetAttribute, "8 after 40000", A(value), 8, function);
    VALUE("value", value);
    CALL(cuFuncSetAttribute, "9 to 50", function, 9, 50);
    CALL(cuFuncSetAttribute, "9 to 101", function, 9, 101);
    CALL(cuFuncGetAttribute, "9 after 50", A(value), 9, function);
    VALUE("value", value);
    CALL(cuFuncGetAttribute, "0 into NULL", 0, 0, function);
    CALL(cuFuncGetAttribute, "0 of NULL", A(value), 0, 0);
    CALL(cuFuncSetAttribute, "8 of NULL", 0, 8, 0);
    for (unsigned i = 0; i <= 4; i++)
        CALL(cuFuncSetCacheConfig, text_of("%u", i), function, i);
    CALL(cuFuncSetSharedMemConfig, "1", function, 1);
    CALL(cuFuncGetModule, "", A(module), function);
    CALL(cuFuncGetModule, "NULL", 0, function);
    CALL(cuFuncGetName, "NULL", 0, function);
    CALL(cuFuncIsLoaded, "", A(value), function);
    CALL(cuFuncLoad, "", function);
    CALL(cuFuncIsLoaded, "after cuFuncLoad", A(value), function);
    VALUE("loaded", value);
}

static void linking(void)
{
    word state = 0, module = 0, function = 0;
    void *image = NULL;
    size_t bytes = 0;
    CALL(cuLinkCreate_v2, "", 0, 0, 0, A(state));
    CALL(cuLinkAddData_v2, "PTX", state, 1, P(KERNELS), sizeof(KERNELS), P("kernels"), 0, 0, 0);
    CALL(cuLinkAddData_v2, "garbage", state, 1, P("garbage"), 8, P("garbage"), 0, 0, 0);
    CALL(cuLinkAddFile_v2, "no such file", state, 1, P("/nonexistent/file.ptx"), 0, 0, 0);
    CALL(cuLinkDestroy, "with garbage", state);
    DO(cuLinkCreate_v2, 0, 0, 0, A(state));
    DO(cuLinkAddData_v2, state, 1, P(KERNELS), sizeof(KERNELS), P("kernels"), 0, 0, 0);
    CALL(cuLinkComplete, "", state, A(image), A(bytes));
    VALUE("something", image && bytes > 0);
    CALL(cuModuleLoadData, "what was linked", A(module), P(image));
    CALL(cuModuleGetFunction, "of what was linked", A(function), module, P("spin"));
    CALL(cuLinkDestroy, "", state);
    CALL(cuLinkCreate_v2, "NULL", 0, 0, 0, 0);
    DO(cuLinkCreate_v2, 0, 0, 0, A(state));
    CALL(cuLinkAddData_v2, "NULL", state, 1, 0, 8, 0, 0, 0, 0);
    CALL(cuLinkAddData_v2, "type 99", state, 99, P(KERNELS), sizeof(KERNELS), 0, 0, 0, 0);
    DO(cuLinkDestroy, state);
}

void record_module(void)
{
    loading();
    contents();
    linking();
}

void record_function(void)
{
    attributes();
}
