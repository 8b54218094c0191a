/* recognise.h -- telling a machine's file from what only lies in its place, and room for it from a full disk. */
#ifndef SIM_RECOGNISE_H
#define SIM_RECOGNISE_H

#include "machine.h"

/* What is wrong with the file, in words that follow its name; NULL: it is a machine of this version. */
const char *sim_file_wrong(int fd);
const char *sim_machine_wrong(const struct sim_machine *);
/* Whether it is another user's: the open file (none: -1), or what is in its place, or its folder; `why` says whose. */
bool sim_file_is_anothers(const char *path, int fd, char *why, unsigned why_size);
/* Nobody's data: it begins like a machine, is empty, or lies where only machines lie. */
bool sim_file_expendable(const char *path, int fd);
/* Processes that have it mapped, as "12, 345"; an empty text: none that can be seen from here. */
void sim_file_users(const char *path, int fd, char *users, unsigned size);

/* The first line of a file, as much of it as there is room for; where there is no such file, nothing. */
void sim_read_line(const char *path, char *line, unsigned size);
void sim_read_boot_id(char *id, unsigned size);

/* Have the pages there, so that no write to them ever meets a full disk; false where it is full. */
bool sim_have_room(const void *start, uint64_t bytes);

#endif
