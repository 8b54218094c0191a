/* rows.h -- expands ROW(name) for every row of the driver's table, hooked or not; with -DNVML, of NVML's. */
#ifdef NVML
#define ROW_CUDA(name)
#define ROW_NVML(name) ROW(name)
#else
#define ROW_CUDA(name) ROW(name)
#define ROW_NVML(name)
#endif
#define HOOK(library, class, name, params, args) ROW_##library(name)
#define NEED(library, class, name, params, args) ROW_##library(name)
#define PASS(library, class, name)               ROW_##library(name)
#include "hooks.def"
#undef ROW_CUDA
#undef ROW_NVML
#undef ROW
