/* calls.c -- calls functions that are named on stdin, found on one road, with arguments that are all zero; says how
 * often the driver was reached by each (0 for one that does not count: it is not fake_driver.c). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "linked.h"

typedef int function(long, long, long, long, long, long, long, long, long, long, long, long);

int main(int argc, char **argv)
{
    void *driver = argc == 3 ? dlopen(argv[2], RTLD_LAZY) : NULL;
    unsigned long (*calls)(const char *) =
        driver ? (unsigned long (*)(const char *))dlsym(driver, "fake_calls") : NULL;
    char name[128];

    if (!driver)
        return 2;
    while (scanf("%127s", name) == 1) {
        function *call =
            (function *)(strcmp(argv[1], "linked") == 0 ? find_linked(name) : dlsym(driver, name));
        int result = call ? call(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0) : -1;

        printf("%s\t%d\t%lu\n", name, result, calls ? calls(name) : 0);
    }
    return 0;
}
