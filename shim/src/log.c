/* log.c -- the one line that the shim may write: no stream of the program's is touched. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "log.h"

void gs_log(const char *format, ...)
{
    static const char prefix[] = "gshare: ";
    const size_t prefix_bytes = sizeof prefix - 1;
    const int saved_errno = errno;
    char line[1024];
    char *end;
    va_list args;

    memcpy(line, prefix, prefix_bytes);
    va_start(args, format);
    vsnprintf(line + prefix_bytes, sizeof line - prefix_bytes - 1, format, args);
    va_end(args);
    end = line + strcspn(line, "\n");
    *end = '\n';
    if (write(STDERR_FILENO, line, (size_t)(end + 1 - line)) < 0) {
        /* nobody is there to read it */
    }
    errno = saved_errno;
}
