/* parse.c -- reads each file as a module image for compute capability 8.9 and prints the result code. */
#include "image.h"

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        FILE *file = fopen(argv[i], "rb");
        fseek(file, 0, SEEK_END);
        size_t size = (size_t)ftell(file);
        rewind(file);
        char *data = malloc(size ? size : 1); /* exactly as large: a byte too far is seen */
        if (fread(data, 1, size, file) != size)
            return 1;
        fclose(file);
        struct sim_image image;
        int result = sim_image_parse(data, size, 89, &image);
        printf("%d\n", result);
        if (result == 0)
            sim_image_free(&image);
        free(data);
    }
    return 0;
}
