/* ptx.c -- what a PTX text declares: kernels with their parameters, and variables in global and constant
 * memory.
 *
 * The text is not compiled.  Bodies are skipped, except for the declarations that say what a kernel takes:
 * registers, static shared memory and local memory. */
#define _GNU_SOURCE /* memmem */
#include "image.h"

#include <stdlib.h>
#include <string.h>

#define DEEPEST_NESTING     4096
#define LARGEST_INITIALISED (1ull << 30) /* bytes */

struct scanner {
    const char *at, *end;
    const char *token; /* the current one; empty at the end of the text */
    size_t length;
};

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '$' || c == '.' || c == '%';
}

/* Skips to the first character after `close`, or to the end. */
static void skip_past(struct scanner *s, const char *close)
{
    size_t length = strlen(close);
    const char *found = memmem(s->at, (size_t)(s->end - s->at), close, length);
    s->at = found ? found + length : s->end;
}

static void next(struct scanner *s)
{
    for (; s->at < s->end; s->at++) {
        if (s->at + 1 < s->end && s->at[0] == '/' && s->at[1] == '/') {
            skip_past(s, "\n");
            s->at--;
        } else if (s->at + 1 < s->end && s->at[0] == '/' && s->at[1] == '*') {
            s->at += 2;
            skip_past(s, "*/");
            s->at--;
        } else if (*s->at != ' ' && *s->at != '\t' && *s->at != '\n' && *s->at != '\r') {
            break;
        }
    }
    s->token = s->at;
    if (s->at >= s->end) {
        s->length = 0;
        return;
    }
    if (*s->at == '"') {
        s->at++;
        skip_past(s, "\"");
    } else if (is_word(*s->at)) {
        while (s->at < s->end && is_word(*s->at))
            s->at++;
    } else {
        s->at++;
    }
    s->length = (size_t)(s->at - s->token);
}

static bool is(const struct scanner *s, const char *word)
{
    return s->length == strlen(word) && memcmp(s->token, word, s->length) == 0;
}

static bool is_punctuation(const struct scanner *s, char c)
{
    return s->length == 1 && *s->token == c;
}

static bool is_name(const struct scanner *s)
{
    return s->length && is_word(*s->token) && *s->token != '.' && !(*s->token >= '0' && *s->token <= '9');
}

static uint64_t number(const struct scanner *s)
{
    uint64_t value = 0;
    bool hex = s->length > 2 && s->token[0] == '0' && (s->token[1] | 32) == 'x';
    for (size_t i = hex ? 2 : 0; i < s->length; i++) {
        char c = s->token[i];
        unsigned digit = c >= '0' && c <= '9' ? (unsigned)(c - '0') : (unsigned)((c | 32) - 'a') + 10;
        if (digit >= (hex ? 16u : 10u))
            break;
        value = value * (hex ? 16 : 10) + digit;
    }
    return value;
}

/* Bytes of the type that the current token names; 0: no type. */
static uint32_t type_bytes(const struct scanner *s)
{
    if (s->length < 3 || s->token[0] != '.')
        return 0;
    if (s->length == 5 && memcmp(s->token, ".pred", 5) == 0)
        return 1;
    if (!strchr("busf", s->token[1]))
        return 0;
    struct scanner digits = {.token = s->token + 2, .length = s->length - 2};
    uint64_t bits = number(&digits);
    return bits == 8 || bits == 16 || bits == 32 || bits == 64 || bits == 128 ? (uint32_t)bits / 8 : 0;
}

struct declaration {
    const char *name;
    size_t length;
    uint64_t size;
    uint32_t align, element;
    const char *init, *init_end;
};

/* From behind a state space (".global") to the token that ends the declaration: , ; ) or {.  False: nonsense.
 */
static bool declare(struct scanner *s, struct declaration *d)
{
    uint32_t type = 0, vector = 1;
    uint64_t elements = 1;
    bool pointer = false;
    *d = (struct declaration){0};
    for (; s->length && !is_name(s); next(s)) {
        if (is(s, ".align")) {
            next(s);
            if (!pointer) /* else it says how what it points to is aligned */
                d->align = (uint32_t)number(s);
        } else if (is(s, ".ptr")) {
            pointer = true;
        } else if (is(s, ".attribute")) {
            while (s->length && !is_punctuation(s, ')'))
                next(s);
        } else if (is(s, ".v2") || is(s, ".v4")) {
            vector = (uint32_t)(s->token[2] - '0');
        } else if (type_bytes(s)) {
            type = type_bytes(s);
        } else if (s->token[0] != '.' && !(*s->token >= '0' && *s->token <= '9')) {
            return false;
        }
    }
    if (!s->length)
        return false;
    if (!type)
        type = 8; /* .texref and friends are handles */
    d->name = s->token;
    d->length = s->length;
    for (next(s); is_punctuation(s, '['); next(s)) {
        next(s);
        uint64_t extent = is_punctuation(s, ']') ? 0 : number(s);
        if (extent && elements > UINT32_MAX / extent)
            return false;
        elements *= extent;
        if (!is_punctuation(s, ']'))
            next(s);
        if (!is_punctuation(s, ']'))
            return false;
    }
    d->element = type;
    d->size = elements * type * vector;
    if (d->align < type)
        d->align = type;
    if (d->align & (d->align - 1) || d->align > 4096)
        return false;
    if (is_punctuation(s, '=')) {
        d->init = s->at;
        while (s->length && !is_punctuation(s, ';'))
            next(s);
        d->init_end = s->token;
    }
    return s->length != 0;
}

/* Initial values: numbers become bytes; anything else (addresses of other variables) stays zero. */
static unsigned char *initial_bytes(const struct declaration *d)
{
    unsigned char *bytes = d->size <= LARGEST_INITIALISED ? calloc(1, d->size) : NULL;
    struct scanner s = {.at = d->init, .end = d->init_end};
    uint64_t at = 0;
    bool negative = false;
    for (next(&s); bytes && s.length && at + d->element <= d->size; next(&s)) {
        if (is_punctuation(&s, '-')) {
            negative = true;
            continue;
        }
        if (!is_word(*s.token))
            continue;
        uint64_t value = 0;
        if (s.length > 2 && s.token[0] == '0' &&
            strchr("fFdD", s.token[1])) { /* a float by its bits, in hex */
            struct scanner bits = {.token = s.token, .length = s.length};
            char text[24] = "0x";
            size_t length = bits.length - 2 < sizeof(text) - 3 ? bits.length - 2 : sizeof(text) - 3;
            memcpy(text + 2, s.token + 2, length);
            value = strtoull(text, NULL, 16);
        } else {
            value = number(&s);
        }
        if (negative)
            value = -value;
        negative = false;
        memcpy(bytes + at, &value, d->element < 8 ? d->element : 8);
        at += d->element;
    }
    return bytes;
}

static int add_variable(struct sim_image *image, const struct declaration *d)
{
    struct sim_variable *variable = sim_image_add_variable(image, d->name, d->length);
    if (!variable)
        return CUDA_ERROR_OUT_OF_MEMORY;
    variable->offset = (image->variable_bytes + d->align - 1) & ~(uint64_t)(d->align - 1);
    variable->size = d->size;
    image->variable_bytes = variable->offset + d->size;
    if (d->init && d->size) {
        variable->owned_init = initial_bytes(d);
        if (!variable->owned_init)
            return CUDA_ERROR_OUT_OF_MEMORY;
        variable->init = variable->owned_init;
        variable->init_bytes = d->size;
    }
    return CUDA_SUCCESS;
}

/* The body of a kernel, from its opening brace: what its declarations take. */
static int scan_body(struct scanner *s, struct sim_entry *entry)
{
    int depth = 0;
    while (s->length) {
        struct declaration d;
        if (is_punctuation(s, '{')) {
            if (++depth > DEEPEST_NESTING)
                return CUDA_ERROR_INVALID_PTX;
        } else if (is_punctuation(s, '}')) {
            if (--depth == 0)
                return CUDA_SUCCESS;
        } else if (is(s, ".shared") || is(s, ".local")) {
            bool shared = is(s, ".shared");
            next(s);
            if (!declare(s, &d))
                return CUDA_ERROR_INVALID_PTX;
            if (shared)
                entry->shared_bytes += (uint32_t)d.size;
            else
                entry->local_bytes += (uint32_t)d.size;
        }
        next(s);
    }
    return CUDA_ERROR_INVALID_PTX;
}

/* From behind ".entry" to the end of its body. */
static int scan_entry(struct scanner *s, struct sim_image *image)
{
    if (!is_name(s))
        return CUDA_ERROR_INVALID_PTX;
    struct sim_entry *entry = sim_image_add_entry(image, s->token, s->length);
    if (!entry)
        return CUDA_ERROR_OUT_OF_MEMORY;
    entry->registers = 32; /* no compiler here: a usual number */
    next(s);
    if (is_punctuation(s, '(')) {
        next(s);
        while (is(s, ".param")) {
            struct declaration d;
            next(s);
            if (!declare(s, &d))
                return CUDA_ERROR_INVALID_PTX;
            uint64_t offset = (entry->param_bytes + (uint64_t)d.align - 1) & ~(uint64_t)(d.align - 1);
            if (offset + d.size > SIM_MAX_PARAM_BYTES)
                return CUDA_ERROR_INVALID_PTX;
            if (!sim_entry_add_param(entry, (uint32_t)offset, (uint32_t)d.size))
                return CUDA_ERROR_OUT_OF_MEMORY;
            if (is_punctuation(s, ','))
                next(s);
        }
        if (!is_punctuation(s, ')'))
            return CUDA_ERROR_INVALID_PTX;
        next(s);
    }
    for (; s->length && !is_punctuation(s, '{'); next(s)) {
        if (is_punctuation(s, ';'))
            return CUDA_ERROR_INVALID_PTX; /* a kernel without a body */
        if (!is(s, ".maxntid") && !is(s, ".reqntid"))
            continue;
        uint64_t threads = 1;
        do {
            next(s);
            threads *= number(s) ? number(s) : 1;
            next(s);
        } while (is_punctuation(s, ',') && threads <= UINT32_MAX);
        entry->max_threads = threads > UINT32_MAX ? UINT32_MAX : (uint32_t)threads;
        if (is_punctuation(s, '{'))
            break;
    }
    return scan_body(s, entry);
}

/* A device function: its head may hold parameters, its body is of no interest. */
static int skip_function(struct scanner *s)
{
    struct sim_entry nobody = {0};
    while (s->length && !is_punctuation(s, '{') && !is_punctuation(s, ';'))
        next(s);
    return is_punctuation(s, '{') ? scan_body(s, &nobody) : CUDA_SUCCESS;
}

/* ".version 8.0" and ".target sm_90a, ..." */
static int scan_header(struct scanner *s, struct sim_image *image)
{
    next(s);
    if (!is(s, ".version"))
        return CUDA_ERROR_INVALID_IMAGE;
    next(s);
    const char *dot = memchr(s->token, '.', s->length);
    if (!dot)
        return CUDA_ERROR_INVALID_PTX;
    struct scanner major = {.token = s->token, .length = (size_t)(dot - s->token)};
    struct scanner minor = {.token = dot + 1, .length = s->length - major.length - 1};
    image->isa = (uint32_t)(number(&major) * 10 + number(&minor));
    next(s);
    if (!is(s, ".target"))
        return CUDA_ERROR_INVALID_PTX;
    next(s);
    if (s->length < 5 || memcmp(s->token, "sm_", 3) != 0)
        return CUDA_ERROR_INVALID_PTX;
    struct scanner arch = {.token = s->token + 3, .length = s->length - 3};
    image->arch = (uint32_t)number(&arch);
    return image->arch ? CUDA_SUCCESS : CUDA_ERROR_INVALID_PTX;
}

int sim_ptx_parse(const char *text, size_t size, struct sim_image *image)
{
    struct scanner s = {.at = text, .end = text + strnlen(text, size)};
    bool external = false;
    uint64_t const_bytes = 0;
    image->kind = SIM_IMAGE_PTX;
    image->code_bytes = (uint64_t)(s.end - s.at);
    int result = scan_header(&s, image);
    while (result == CUDA_SUCCESS) {
        next(&s);
        if (!s.length)
            break;
        if (is(&s, ".extern")) {
            external = true;
            continue;
        }
        if (is(&s, ".entry")) {
            next(&s);
            result = scan_entry(&s, image);
        } else if (is(&s, ".func")) {
            result = skip_function(&s);
        } else if (is(&s, ".global") || is(&s, ".const") || is(&s, ".shared")) {
            struct declaration d;
            bool here = !external && !is(&s, ".shared"), constant = here && is(&s, ".const");
            next(&s);
            if (!declare(&s, &d))
                result = CUDA_ERROR_INVALID_PTX;
            else if (here)
                result = add_variable(image, &d);
            if (constant && result == CUDA_SUCCESS)
                const_bytes += d.size;
        } else if (is_punctuation(&s, '}') || is_punctuation(&s, ')')) {
            result = CUDA_ERROR_INVALID_PTX;
        } else if (is_punctuation(&s, '{')) { /* .section and other blocks */
            struct sim_entry nobody = {0};
            result = scan_body(&s, &nobody);
        } else if (is(&s, ".visible") || is(&s, ".weak")) {
            continue;
        }
        external = false;
    }
    for (uint32_t i = 0; i < image->entry_count; i++)
        image->entry[i].const_bytes = (uint32_t)const_bytes;
    return result;
}
