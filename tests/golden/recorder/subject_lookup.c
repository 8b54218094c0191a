/* subject_lookup.c -- functions by name.  tests/sim/test_lookup.py does it for all, on drivers without a GPU. */
#include "recorder.h"
#include "subjects.h"

static void look_up(const char *name, int version, unsigned flags)
{
    word found = 1;
    int status = -1;
    CALL(cuGetProcAddress_v2, text_of("%s, %d, flags %u", name, version, flags), P(name), A(found),
         (word)version, flags, A(status));
    VALUE("status", status);
    VALUE("found", found > 1);
    CALL(cuGetProcAddress, text_of("%s, %d, flags %u", name, version, flags), P(name), A(found),
         (word)version, flags);
}

/* Under which exported name the function is that a program gets. */
static void which(const char *name, int version, unsigned flags, const char *const exported[4])
{
    word found = 0;
    const char *is = "another";
    CALL(cuGetProcAddress_v2, text_of("%s, %d, flags %u: which", name, version, flags), P(name), A(found),
         (word)version, flags, 0);
    for (unsigned i = 0; i < 4 && exported[i]; i++)
        if (found && P(driver_symbol(exported[i])) == found)
            is = exported[i];
    TEXT("is", is);
}

void record_lookup(void)
{
    static const int versions[] = {0, 2000, 3020, 4000, 7000, 10000, 11030, 12000, 99999, -1};
    static const char *const names[] = {"cuMemAlloc",
                                        "cuMemAlloc_v2",
                                        "cuStreamSynchronize",
                                        "cuGetProcAddress",
                                        "cuMemcpyHtoD",
                                        "cuNoSuchName",
                                        ""};
    for (size_t n = 0; n < sizeof(names) / sizeof(*names); n++)
        for (size_t v = 0; v < sizeof(versions) / sizeof(*versions); v++)
            look_up(names[n], versions[v], 0);
    for (unsigned flags = 1; flags <= 5; flags++)
        look_up("cuStreamSynchronize", 12000, flags);
    which("cuMemAlloc", 3010, 0, (const char *const[4]){"cuMemAlloc", "cuMemAlloc_v2"});
    which("cuMemAlloc", 3020, 0, (const char *const[4]){"cuMemAlloc", "cuMemAlloc_v2"});
    which("cuGetProcAddress", 11030, 0, (const char *const[4]){"cuGetProcAddress", "cuGetProcAddress_v2"});
    which("cuGetProcAddress", 12000, 0, (const char *const[4]){"cuGetProcAddress", "cuGetProcAddress_v2"});
    which("cuStreamSynchronize", 7000, 0,
          (const char *const[4]){"cuStreamSynchronize", "cuStreamSynchronize_ptsz"});
    which("cuStreamSynchronize", 7000, 1,
          (const char *const[4]){"cuStreamSynchronize", "cuStreamSynchronize_ptsz"});
    which("cuStreamSynchronize", 7000, 2,
          (const char *const[4]){"cuStreamSynchronize", "cuStreamSynchronize_ptsz"});
}
