/* error.c -- names and texts of the runtime's errors. */
#include "cudart.h"

struct error {
    cudaError_t code;
    const char *name, *text;
};

static const struct error errors[] = {
#define ERROR(code, name, text) {code, #name, text},
#include "errors.def"
#undef ERROR
};

static const struct error *find(cudaError_t code)
{
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (errors[i].code == code)
            return &errors[i];
    return NULL;
}

__attribute__((visibility("default"))) const char *cudaGetErrorName(cudaError_t code)
{
    const struct error *error = find(code);
    return error ? error->name : "unrecognized error code";
}

__attribute__((visibility("default"))) const char *cudaGetErrorString(cudaError_t code)
{
    CUresult (*driver_text)(CUresult, const char **) = NULL;
    const struct error *error = find(code);
    const char *text = NULL;
    if (error && error->text)
        return error->text;
    if (error && rt_load() != cudaErrorInsufficientDriver)
        rt_look_up("cuGetErrorString", (void **)&driver_text, 6000, 0, NULL);
    if (driver_text)
        driver_text((CUresult)code, &text);
    return text ? text : error ? error->name : "unrecognized error code";
}
