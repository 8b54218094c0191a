#include "timings.h"
int record_timings(FILE *out, const struct identity *identity){return 1;}
