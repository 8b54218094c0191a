/* loader.h -- the C library's own dlsym, dlvsym and dlopen, which ours hide. */
#ifndef GS_LOADER_H
#define GS_LOADER_H

struct gs_loader {
    void *(*dlsym)(void *handle, const char *name);
    void *(*dlvsym)(void *handle, const char *name, const char *version);
    void *(*dlopen)(const char *file, int flags);
};

/* Found at the first use, which may be before any constructor has run. */
const struct gs_loader *gs_loader(void);

#endif
