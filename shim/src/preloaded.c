/* preloaded.c -- whether a file of the system's, and not the environment, had us loaded. */
#define _GNU_SOURCE /* O_PATH */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "handover.h"
#include "preloaded.h"

#define LONGEST 4096

int gs_preloaded_by_file(void)
{
    char text[LONGEST];
    int fd = open("/etc/ld.so.preload", O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? 0 : read(fd, text, sizeof text - 1);

    if (fd >= 0)
        close(fd);
    text[length > 0 ? length : 0] = '\0';
    return strstr(text, "/libgshare.so") != NULL;
}

int gs_is_roots(const char *directory)
{
    const char *name = gs_handover_offered(directory) ? GS_HANDOVER_SOCKET : "limits";
    struct stat status;
    char path[LONGEST];
    int fd, is_roots;

    snprintf(path, sizeof path, "%s/%s", directory, name);
    fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return 0;
    is_roots = !syscall(SYS_fstat, fd, &status) && status.st_uid == 0;
    close(fd);
    return is_roots;
}
