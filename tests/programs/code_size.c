/* code_size.c -- what the shim takes image files for: one upper bound a line.
 *
 * code_size FILE…          each as a file
 * code_size memory FILE…   each as an image in memory that ends where the file does */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "code_size.h"

static uint64_t size_in_memory(const char *path)
{
    FILE *file = fopen(path, "rb");
    uint64_t bytes = 0;
    long length;
    char *image;

    if (!file || fseek(file, 0, SEEK_END) || (length = ftell(file)) < 0)
        exit(2);
    image = calloc(1, (size_t)length + 1);
    rewind(file);
    if (image && fread(image, 1, (size_t)length, file) == (size_t)length)
        bytes = gs_code_size(image);
    free(image);
    fclose(file);
    return bytes;
}

int main(int count, char **argument)
{
    int in_memory = count > 1 && !strcmp(argument[1], "memory");

    for (int i = 1 + in_memory; i < count; i++)
        printf("%llu\n", (unsigned long long)(in_memory ? size_in_memory(argument[i])
                                                        : gs_code_size_of_file(argument[i])));
    return 0;
}
