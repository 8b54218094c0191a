/* trace.c -- one line of JSON for every change of a charge, in a file that all processes of a tenant append to.
 *
 * Nothing stays open: the file is opened for each line, so that no descriptor of ours can be closed, inherited or
 * taken for another.  Every line has LINE_BYTES and is written at once: they divide a page, so that neither a kill nor
 * a full disk, which cut a write between two pages, leaves half a line. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "asked.h"
#include "lock.h"
#include "log.h"
#include "trace.h"

#define LINE_BYTES 256
#define PATH_BYTES 4096

struct line {
    char text[LINE_BYTES + 1];
    int length; /* of what there is to say: more than LINE_BYTES - 1 does not fit */
};

static const char *const kind_names[GS_CHARGES] = {
    [GS_LINEAR] = "linear",   [GS_MANAGED] = "managed", [GS_POOL] = "pool",   [GS_PHYSICAL] = "physical",
    [GS_CONTEXT] = "context", [GS_ARRAY] = "array",     [GS_GRAPH] = "graph", [GS_MODULE] = "module",
};

static struct gs_lock lock; /* of the two below */
static enum { UNKNOWN, OFF, ON } state;
static char path[PATH_BYTES]; /* a copy: programs write over their environment */
static int failure_is_told;

int gs_trace_on(void)
{
    const char *named;
    int on;

    gs_lock(&lock);
    if (state == UNKNOWN) {
        named = gs_asked(GS_ASKED_TRACE);
        state = named && strlen(named) < sizeof path ? ON : OFF;
        if (state == ON)
            memcpy(path, named, strlen(named) + 1);
    }
    on = state == ON;
    gs_unlock(&lock);
    return on;
}

static __attribute__((format(printf, 2, 3))) void add(struct line *line, const char *format, ...)
{
    size_t room = line->length < LINE_BYTES ? LINE_BYTES - (size_t)line->length : 0;
    va_list args;

    va_start(args, format);
    line->length += vsnprintf(line->text + LINE_BYTES - room, room, format, args);
    va_end(args);
}

static void begin(struct line *line, const struct gs_trace_row *row, uint32_t pid)
{
    struct timespec now;

    line->length = 0;
    clock_gettime(CLOCK_REALTIME, &now);
    add(line, "{\"time_ns\":%llu,\"pid\":%u,\"tid\":%ld,",
        (unsigned long long)now.tv_sec * 1000000000u + (unsigned long long)now.tv_nsec, pid,
        syscall(SYS_gettid));
    if (row->row == GS_HOST_ROW)
        add(line, "\"device\":\"host\",");
    else if (row->row < 0)
        add(line, "\"device\":null,");
    else
        add(line, "\"device\":%d,", row->row);
}

static void append(const struct line *line)
{
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0666);
    ssize_t written = fd < 0 ? -1 : write(fd, line->text, LINE_BYTES);
    int error = errno;

    if (fd >= 0)
        close(fd);
    if (written != LINE_BYTES && !__atomic_exchange_n(&failure_is_told, 1, __ATOMIC_RELAXED))
        gs_log("%s: cannot be written: %s; the ledger of memory is not complete", path,
               written < 0 ? strerror(error) : "no space left");
}

static void end(struct line *line, const struct gs_trace_row *row)
{
    int kept = errno;

    add(line,
        "\"process_bytes\":%llu,\"used_bytes\":%llu,\"limit_bytes\":", (unsigned long long)row->process_bytes,
        (unsigned long long)row->used_bytes);
    if (row->limit_bytes == GS_NO_LIMIT_BYTES)
        add(line, "null}");
    else
        add(line, "%llu}", (unsigned long long)row->limit_bytes);
    if (line->length >= LINE_BYTES)
        return; /* no name and no numbers that we write are so long: tests/shim/test_trace.py */
    memset(line->text + line->length, ' ', LINE_BYTES - (size_t)line->length);
    line->text[LINE_BYTES - 1] = '\n';
    append(line);
    errno = kept;
}

void gs_trace_change(const struct gs_trace_row *row, uint32_t kind, int64_t bytes)
{
    struct line line;

    if (!gs_trace_on())
        return;
    begin(&line, row, (uint32_t)getpid());
    add(&line, "\"kind\":\"%s\",\"bytes\":%lld,", kind_names[kind % GS_CHARGES], (long long)bytes);
    end(&line, row);
}

void gs_trace_refusal(const struct gs_trace_row *row, const char *api, uint64_t bytes)
{
    struct line line;

    if (!gs_trace_on())
        return;
    begin(&line, row, (uint32_t)getpid());
    add(&line, "\"api\":\"%.40s\",\"refused_bytes\":%llu,", api, (unsigned long long)bytes);
    end(&line, row);
}

void gs_trace_ended(const struct gs_trace_row *row, uint32_t pid, uint64_t bytes)
{
    struct line line;

    if (!gs_trace_on())
        return;
    begin(&line, row, pid);
    add(&line, "\"kind\":\"ended\",\"bytes\":-%llu,", (unsigned long long)bytes);
    end(&line, row);
}

void gs_trace_forget(void)
{
    memset(&lock, 0, sizeof lock);
}
