/* timings.h -- facts of time about the GPU and the driver at hand. */
#ifndef TIMINGS_H
#define TIMINGS_H

#include "report.h"

int record_timings(FILE *out, const struct identity *identity);

#endif
