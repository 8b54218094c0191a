/* linked.c -- finds functions the way a program does that is linked with the driver: by relocation. */
#include <string.h>

#include "linked.h"

#define ROW(name) extern int name(void) __attribute__((weak));
#include "rows.h"

void *find_linked(const char *name)
{
    static const struct {
        const char *name;
        void *function;
    } table[] = {
#define ROW(name) {#name, (void *)name},
#include "rows.h"
    };

    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strcmp(table[i].name, name) == 0)
            return table[i].function;
    return NULL;
}

void *find_by_own_dlsym(void *handle, const char *name)
{
    return dlsym(handle, name);
}
