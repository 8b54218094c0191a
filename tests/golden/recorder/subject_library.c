/* subject_library.c -- libraries and kernels, which belong to no context. */
#include "kernels.h"
#include "recorder.h"
#include "structures.h"
#include "subjects.h"

static void loaded(word library)
{
    word kernel = 0, function = 0, module = 0, owner = 0, address = 0, kernels[8] = {0};
    size_t bytes = 0, offset = 0;
    unsigned count = 0;
    int value = 0;
    const char *name = NULL;
    CALL(cuLibraryGetKernel, "", A(kernel), library, P("spin"));
    CALL(cuLibraryGetKernel, "no such", A(function), library, P("no such"));
    CALL(cuLibraryGetKernel, "NULL", A(function), library, 0);
    CALL(cuLibraryGetKernel, "into NULL", 0, library, P("spin"));
    CALL(cuLibraryGetKernel, "of NULL", A(function), 0, P("spin"));
    CALL(cuLibraryGetKernelCount, "", A(count), library);
    VALUE("count", count);
    CALL(cuLibraryGetKernelCount, "NULL", 0, library);
    CALL(cuLibraryEnumerateKernels, "", P(kernels), 8, library);
    CALL(cuLibraryEnumerateKernels, "NULL", 0, 8, library);
    CALL(cuLibraryGetModule, "", A(module), library);
    CALL(cuLibraryGetModule, "NULL", 0, library);
    CALL(cuLibraryGetGlobal, "", A(address), A(bytes), library, P("variable"));
    VALUE("bytes", bytes);
    CALL(cuLibraryGetGlobal, "no such", A(address), A(bytes), library, P("no such"));
    CALL(cuLibraryGetGlobal, "both into NULL", 0, 0, library, P("variable"));
    CALL(cuLibraryGetManaged, "no such", A(address), A(bytes), library, P("no such"));
    CALL(cuLibraryGetManaged, "one that is not", A(address), A(bytes), library, P("variable"));
    CALL(cuLibraryGetUnifiedFunction, "no such", A(address), library, P("no such"));
    CALL(cuKernelGetFunction, "", A(function), kernel);
    CALL(cuKernelGetFunction, "NULL", 0, kernel);
    CALL(cuKernelGetFunction, "of NULL", A(function), 0);
    CALL(cuKernelGetLibrary, "", A(owner), kernel);
    VALUE("the same", owner == library);
    CALL(cuKernelGetName, "", A(name), kernel);
    TEXT("name", name);
    CALL(cuKernelGetName, "NULL", 0, kernel);
    for (unsigned i = 0; i <= 3; i++) {
        CALL(cuKernelGetAttribute, text_of("%u", i), A(value), i, kernel, 0);
        VALUE("value", value);
    }
    CALL(cuKernelGetAttribute, "99", A(value), 99, kernel, 0);
    CALL(cuKernelGetAttribute, "0 of device 99", A(value), 0, kernel, 99);
    CALL(cuKernelGetAttribute, "0 into NULL", 0, 0, kernel, 0);
    CALL(cuKernelSetAttribute, "8 to 40000", 8, 40000, kernel, 0);
    CALL(cuKernelSetAttribute, "0 to 1", 0, 1, kernel, 0);
    CALL(cuKernelSetAttribute, "8 to 1, device 99", 8, 1, kernel, 99);
    CALL(cuKernelSetCacheConfig, "1", kernel, 1, 0);
    CALL(cuKernelSetCacheConfig, "9", kernel, 9, 0);
    CALL(cuKernelGetParamInfo, "0", kernel, 0, A(offset), A(bytes));
    VALUE("offset", offset);
    VALUE("bytes", bytes);
    CALL(cuKernelGetParamInfo, "1", kernel, 1, A(offset), A(bytes));
    uint64_t ns = 1000;
    void *params[] = {&ns};
    CALL(cuLaunchKernel, "a kernel as a function", kernel, 1, 1, 1, 1, 1, 1, 0, 0, P(params), 0);
    CALL(cuLaunchKernel, "a kernel's function", function, 1, 1, 1, 1, 1, 1, 0, 0, P(params), 0);
    CALL(cuCtxSynchronize, "after kernels");
}

void record_library(void)
{
    word library = 0;
    CALL(cuLibraryLoadData, "garbage", A(library), P("garbage"), 0, 0, 0, 0, 0, 0);
    CALL(cuLibraryLoadData, "NULL", A(library), 0, 0, 0, 0, 0, 0, 0);
    CALL(cuLibraryLoadData, "into NULL", 0, P(KERNELS), 0, 0, 0, 0, 0, 0);
    CALL(cuLibraryLoadFromFile, "no such file", A(library), P("/nonexistent/file.cubin"), 0, 0, 0, 0, 0, 0);
    CALL(cuLibraryLoadFromFile, "NULL", A(library), 0, 0, 0, 0, 0, 0, 0);
    int option = 99;
    void *value = NULL;
    CALL(cuLibraryLoadData, "library option 99", A(library), P(KERNELS), 0, 0, 0, A(option), A(value), 1);
    library = 0;
    CALL(cuLibraryLoadData, "", A(library), P(KERNELS), 0, 0, 0, 0, 0, 0);
    if (library)
        loaded(library);
    CALL(cuLibraryUnload, "", library);
    CALL(cuLibraryUnload, "NULL", 0);
}
