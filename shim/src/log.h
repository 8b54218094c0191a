/* log.h -- the one line that the shim may write. */
#ifndef GS_LOG_H
#define GS_LOG_H

/* "gshare: ", the message cut to one line, and a newline, in a single write to fd 2; errno is kept. */
__attribute__((format(printf, 1, 2))) void gs_log(const char *format, ...);

#endif
