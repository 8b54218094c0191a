/* main.c -- does one step when it is told to, and says what the driver answered.
 *
 *   probes linked|dlsym|procaddress [DEVICE]
 *
 * Commands come on standard input, one a line; each is answered with one line of JSON:
 *
 *   list                what there is: doors and ways, in the order of doors.def
 *   prepare DOOR WAY    by number: a context, and what that door needs to be tried
 *   take                through the door
 *   give                back on that way; where the answer has "look", an empty line lets it go on
 *   leave               nothing stays
 *
 * and, where no one else can say how much is left or make it less:
 *
 *   keep                have the primary context, from now on
 *   info                what cuMemGetInfo says
 *   pad BYTES           take so much linear memory, in place of what was taken so before */
#include "maker.h"
#include "probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct held held;
int device;

static const struct door doors[] = {
#define DOOR(name, variant, take, kind, charge) {#name, variant, #kind, #charge, take},
#include "doors.def"
};
static const struct way ways[] = {
#define WAY(kind, name, give, setting) {#kind, #name, #setting, give},
#include "doors.def"
};
static const struct before {
    const char *kind;
    int (*prepare)(void);
} befores[] = {
#define BEFORE(kind, prepare) {#kind, prepare},
#include "doors.def"
};
enum { DOORS = sizeof(doors) / sizeof(*doors), WAYS = sizeof(ways) / sizeof(*ways) };

static const struct door *door;
static const struct way *way;

static void list(void)
{
    printf("{\"doors\":[");
    for (int i = 0; i < DOORS; i++)
        printf("%s[\"%s\",\"%s\",\"%s\",\"%s\"]", i ? "," : "", doors[i].name, doors[i].variant,
               doors[i].kind, doors[i].charge);
    printf("],\"ways\":[");
    for (int i = 0; i < WAYS; i++)
        printf("%s[\"%s\",\"%s\",\"%s\"]", i ? "," : "", ways[i].kind, ways[i].name, ways[i].setting);
    printf("]}\n");
}

void look(const char *what)
{
    char line[8];
    printf("{\"look\":\"%s\"}\n", what);
    fflush(stdout);
    if (!fgets(line, sizeof(line), stdin))
        exit(0);
}

static int begin_context(void)
{
    if (strcmp(way->setting, "WITHOUT") == 0)
        return 0;
    if (strcmp(way->setting, "OLD") == 0)
        return DO(cuCtxCreate, A(held.context), 0, (word)device);
    if (strcmp(way->setting, "OWN") == 0)
        return DO(cuCtxCreate_v2, A(held.context), 0, (word)device);
    return DO(cuDevicePrimaryCtxRetain, A(held.context), (word)device) ?: DO(cuCtxSetCurrent, held.context);
}

static int prepare(int to, int back)
{
    int code;
    if (to < 0 || to >= DOORS || back < 0 || back >= WAYS)
        return FAILED;
    door = &doors[to];
    way = &ways[back];
    held = (struct held){.descriptor = -1};
    code = begin_context();
    for (size_t i = 0; !code && i < sizeof(befores) / sizeof(*befores); i++)
        if (strcmp(befores[i].kind, door->kind) == 0)
            code = befores[i].prepare();
    return code;
}

/* What the way back has left of the surroundings. */
static int leave(void)
{
    int code = 0;
    maker_forget();
    if (!held.context)
        return 0;
    if (strcmp(way->setting, "PRIMARY") == 0)
        code = DO(cuDevicePrimaryCtxRelease_v2, (word)device);
    else
        code = DO(cuCtxDestroy_v2, held.context);
    DO(cuCtxSetCurrent, 0);
    return code;
}

static int keep(void)
{
    word context = 0;
    return DO(cuDevicePrimaryCtxRetain, A(context), (word)device);
}

static int info(void)
{
    size_t free = 0, total = 0;
    int code = DO(cuMemGetInfo_v2, A(free), A(total));
    printf("{\"free\":%zu,\"total\":%zu,", free, total);
    return code;
}

static int pad(size_t bytes)
{
    static word padding;
    int code = padding ? DO(cuMemFree_v2, padding) : 0;
    padding = 0;
    return code || !bytes ? code : DO(cuMemAlloc_v2, A(padding), bytes);
}

static int step(const char *line)
{
    size_t bytes;
    int to, back;
    if (strcmp(line, "keep\n") == 0)
        return keep();
    if (sscanf(line, "pad %zu", &bytes) == 1)
        return pad(bytes);
    if (sscanf(line, "prepare %d %d", &to, &back) == 2)
        return prepare(to, back);
    if (!door)
        return FAILED;
    if (strcmp(line, "take\n") == 0)
        return door->take(door);
    if (strcmp(line, "give\n") == 0)
        return way->give(way);
    return strcmp(line, "leave\n") == 0 ? leave() : FAILED;
}

int main(int argc, char **argv)
{
    char line[64];
    if (argc < 2 || !choose_road(argv[1])) {
        fprintf(stderr, "usage: %s linked|dlsym|procaddress [DEVICE]\n", argv[0]);
        return 2;
    }
    device = argc > 2 ? atoi(argv[2]) : 0;
    maker_start();
    DO(cuInit, 0);
    while (fgets(line, sizeof(line), stdin)) {
        if (strcmp(line, "list\n") == 0)
            list();
        else if (strcmp(line, "info\n") == 0)
            printf("\"code\":%d}\n", info());
        else
            printf("{\"code\":%d}\n", step(line));
        fflush(stdout);
    }
    return 0;
}
