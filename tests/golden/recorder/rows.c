/* rows.c -- calls by name, and the rows that they leave. */
#include "recorder.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct book *book;

void *driver_symbol(const char *function)
{
    static void *driver;
    const char *path = getenv("RECORDER_DRIVER");
    if (!driver)
        driver = dlopen(path ? path : "libcuda.so.1", RTLD_NOW | RTLD_GLOBAL);
    return driver ? dlsym(driver, function) : NULL;
}

/* The look-up costs more than many a call, above all under gshare's dlsym: timings leave it out. */
static void *looked_up(const char *function)
{
    static _Thread_local struct {
        char name[64];
        void *symbol;
    } known[64], *entry;
    entry = &known[(uintptr_t)function / 8 % 64];
    if (!entry->symbol || strcmp(entry->name, function) != 0) {
        snprintf(entry->name, sizeof(entry->name), "%s", function);
        entry->symbol = driver_symbol(function);
    }
    return entry->symbol;
}

int driver_call(const char *function, unsigned count, const word *args)
{
    word a[12] = {0};
    int (*call)(word, word, word, word, word, word, word, word, word, word, word, word);
    *(void **)&call = looked_up(function);
    if (!call)
        return ROW_ABSENT;
    memcpy(a, args, (count < 12 ? count : 12) * sizeof(*a));
    return call(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10], a[11]);
}

void row_begin(const char *function, const char *what)
{
    if (book->count == MAX_ROWS)
        return;
    struct row *row = &book->row[book->count];
    row->function = function;
    row->values = 0;
    row->code = ROW_OPEN;
    snprintf(row->what, sizeof(row->what), "%s", what);
    book->count++;
    if (book->count > book->deepest)
        book->deepest = book->count;
}

void row_end(int code)
{
    book->row[book->count - 1].code = code;
}

int row_call(const char *function, const char *what, unsigned count, const word *args)
{
    /* An earlier attempt at this group ended in this very call: it is not made again. */
    const struct row *next = &book->row[book->count];
    if (book->count < book->deepest && (next->code <= ROW_SIGNAL || next->code == ROW_HANGS)) {
        book->count++;
        return next->code;
    }
    row_begin(function, what);
    int code = driver_call(function, count, args);
    row_end(code);
    return code;
}

static struct value *new_value(const char *name, bool of_device)
{
    struct row *row = &book->row[book->count - 1];
    if (row->code != 0 || row->values == MAX_VALUES)
        return NULL;
    struct value *value = &row->value[row->values++];
    snprintf(value->name, sizeof(value->name), "%s", name);
    value->of_device = of_device;
    return value;
}

void row_value(const char *name, int64_t number, bool of_device)
{
    struct value *value = new_value(name, of_device);
    if (!value)
        return;
    value->is_text = false;
    value->number = number;
}

void row_text(const char *name, const char *text, bool of_device)
{
    struct value *value = new_value(name, of_device);
    if (!value)
        return;
    value->is_text = true;
    snprintf(value->text, sizeof(value->text), "%s", text ? text : "");
}

const char *text_of(const char *format, ...)
{
    static char text[2][96];
    static unsigned next;
    va_list list;
    va_start(list, format);
    next = !next;
    vsnprintf(text[next], sizeof(text[next]), format, list);
    va_end(list);
    return text[next];
}
