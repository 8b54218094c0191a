/* report.h -- a recording as JSON. */
#ifndef REPORT_H
#define REPORT_H

#include "recorder.h"

#include <stdio.h>

struct identity {
    int init_code, driver_version, major, minor;
    char device[96];
    uint64_t memory_bytes;
};

/* A text as JSON. */
void report_text(FILE *out, const char *text);
void report_identity(FILE *out, const char *schema, const struct identity *identity);
void report_rows(FILE *out, const struct identity *identity, const struct ending *endings);

#endif
