/* roads.c -- looks up functions on one road to the driver, and says where each answer lies.
 *
 * roads ROAD [FILE…] reads names from stdin ("name", or "name version flags" on the roads of cuGetProcAddress) and
 * writes one line for each: the line itself, the driver's return code and status ("-" where there is none), the file
 * and the symbol of the answer ("-" for none). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "linked.h"

typedef int lookup(const char *name, void **function, int version, unsigned long long flags);
typedef int lookup_v2(const char *name, void **function, int version, unsigned long long flags, int *status);

static const char *road;
static void *handle;
static lookup *find_by_lookup;
static lookup_v2 *find_by_lookup_v2;
static void *(*find_in_client)(const char *name);
static void *(*find_by_client)(void *handle, const char *name);

static void *need(void *pointer, const char *what)
{
    if (pointer)
        return pointer;
    fprintf(stderr, "%s: %s\n", what, dlerror());
    exit(2);
}

static int is(const char *name)
{
    return strcmp(road, name) == 0;
}

static void open_road(char **files)
{
    if (is("linked"))
        find_in_client = find_linked;
    else if (is("default") || is("linked-lookup"))
        handle = RTLD_DEFAULT;
    else if (is("next"))
        handle = RTLD_NEXT;
    else if (is("self"))
        handle = need(dlopen(NULL, RTLD_LAZY), "self");
    else if (is("dlmopen"))
        handle = need(dlmopen(LM_ID_NEWLM, files[0], RTLD_LAZY), files[0]);
    else if (is("deepbind"))
        handle = need(dlopen(files[0], RTLD_LAZY | RTLD_DEEPBIND), files[0]);
    else if (is("client-linked") || is("client-dlsym")) { /* a library that is linked with the driver */
        void *client = need(dlopen(files[0], RTLD_LAZY | RTLD_DEEPBIND), files[0]);

        *(void **)(is("client-linked") ? (void *)&find_in_client : (void *)&find_by_client) =
            need(dlsym(client, is("client-linked") ? "find_linked" : "find_by_own_dlsym"), files[0]);
        handle = need(dlopen(files[1], RTLD_LAZY), files[1]);
    } else
        handle = need(dlopen(files[0], RTLD_LAZY), files[0]);
    if (is("second")) { /* another copy, after the first has been used */
        need(dlsym(handle, "cuInit"), "cuInit");
        handle = need(dlopen(files[1], RTLD_LAZY), files[1]);
    }
    if (is("reopened")) {
        ((int (*)(unsigned))need(dlsym(handle, "cuInit"), "cuInit"))(0);
        dlclose(handle);
        handle = need(dlopen(files[0], RTLD_LAZY), files[0]);
        ((int (*)(unsigned))need(dlsym(handle, "cuInit"), "cuInit"))(0);
    }
    if (is("lookup"))
        find_by_lookup = (lookup *)need(dlsym(handle, "cuGetProcAddress"), "cuGetProcAddress");
    if (is("linked-lookup"))
        find_by_lookup_v2 = (lookup_v2 *)find_linked("cuGetProcAddress_v2");
    if (is("lookup-v2") || is("lookup-of-lookup"))
        find_by_lookup_v2 = (lookup_v2 *)need(dlsym(handle, "cuGetProcAddress_v2"), "cuGetProcAddress_v2");
    if (is("lookup-of-lookup")) {
        find_by_lookup_v2("cuGetProcAddress", (void **)&find_by_lookup_v2, 12000, 0, NULL);
        find_by_lookup_v2("cuGetProcAddress", (void **)&find_by_lookup, 11030, 0, NULL);
    }
}

static void *find(const char *name, int version, unsigned long long flags, int *result, int *status)
{
    void *function = NULL;

    if (find_by_lookup)
        *result = find_by_lookup(name, &function, version, flags);
    else if (find_by_lookup_v2)
        *result = find_by_lookup_v2(name, &function, version, flags, status);
    else if (find_in_client)
        function = find_in_client(name);
    else if (find_by_client)
        function = find_by_client(handle, name);
    else if (is("dlvsym"))
        function = dlvsym(handle, name, "FAKE_1");
    else
        function = dlsym(handle, name);
    return function;
}

int main(int argc, char **argv)
{
    char line[256];

    if (argc < 2)
        return 2;
    road = argv[1];
    open_road(argv + 2);
    while (fgets(line, sizeof line, stdin)) {
        char name[128] = "";
        int version = 0, result = 0, status = -1;
        unsigned long long flags = 0;
        void *function;
        Dl_info info = {0};

        line[strcspn(line, "\n")] = '\0';
        sscanf(line, "%127s %d %llu", name, &version, &flags);
        function = find(name, version, flags, &result, &status);
        if (function && !dladdr(function, &info))
            info.dli_fname = "nowhere";
        printf("%s\t%d\t%d\t%s\t%s\n", line, result, status, info.dli_fname ? info.dli_fname : "-",
               info.dli_sname ? info.dli_sname : "-");
    }
    return 0;
}
