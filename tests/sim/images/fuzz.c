/* fuzz.c -- libFuzzer hands over bytes as a module image: PTX text, cubin or fat binary (.ci/fuzz). */
#include "image.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct sim_image image;
    if (sim_image_parse(bytes, size, 89, &image) == 0)
        sim_image_free(&image);
    return 0;
}
