/* object.c -- the memory of handles: never given back, so that a destroyed handle can be recognised as one. */
#include "process.h"

#include <stdlib.h>
#include <string.h>

#define MAGICS 64

struct free_object {
    uint32_t magic; /* SIM_DEAD */
    uint32_t kind;
    struct free_object *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct free_object *free_list[MAGICS];

void *sim_object_new(enum sim_magic magic, size_t size)
{
    uint32_t kind = (uint32_t)magic - SIM_CONTEXT;
    pthread_mutex_lock(&lock);
    struct free_object *object = free_list[kind];
    if (object)
        free_list[kind] = object->next;
    pthread_mutex_unlock(&lock);
    if (!object)
        object = malloc(size);
    if (!object)
        return NULL;
    memset(object, 0, size);
    object->magic = magic;
    return object;
}

void sim_object_free(void *p)
{
    struct free_object *object = p;
    uint32_t kind = object->magic - SIM_CONTEXT;
    object->magic = SIM_DEAD;
    pthread_mutex_lock(&lock);
    object->next = free_list[kind];
    free_list[kind] = object;
    pthread_mutex_unlock(&lock);
}
