/* code_size.h -- an upper bound of what a module takes of a device, told from its image before it is loaded. */
#ifndef GS_CODE_SIZE_H
#define GS_CODE_SIZE_H

#include <stddef.h>
#include <stdint.h>

/* Each variable is placed on its own. */
#define GS_VARIABLE_GRAIN 256ull

/* Machine code made of PTX text is at most this many times as long. */
#define GS_CODE_PER_TEXT 4ull

/* An image as programs hand it over: its address alone says where it begins, it itself where it ends. */
uint64_t gs_code_size(const void *image);

/* The same for a file; 0: it cannot be read, and the driver will say so. */
uint64_t gs_code_size_of_file(const char *path);

/* PTX: machine code of that text, and every variable that it declares. */
uint64_t gs_code_size_of_ptx(const char *text, size_t length);

#endif
