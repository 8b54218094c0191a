/* ptx_size.c -- how much device memory the variables of a PTX text declare, and its code will take.
 *
 * `.visible .global .align 4 .v2 .f32 a[3][5], b = 1;`: state space, attributes, type, then names with dimensions,
 * and values.  Only declarations have the state space as a word of its own; so do pointer parameters
 * (`.param .u64 .ptr .global .align 8 p`), which have no type behind it and so come to nothing. */
#include <string.h>

#include "bytes.h"
#include "code_size.h"

struct text {
    const char *at, *end;
};

static int is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '$' || c == '%';
}

static int is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Past what means nothing: white space and comments. */
static void skip_space(struct text *t)
{
    while (t->at < t->end) {
        size_t left = (size_t)(t->end - t->at);

        if (is_space(*t->at)) {
            t->at++;
        } else if (left >= 2 && t->at[0] == '/' && t->at[1] == '/') {
            while (t->at < t->end && *t->at != '\n')
                t->at++;
        } else if (left >= 2 && t->at[0] == '/' && t->at[1] == '*') {
            for (t->at += 2; t->end - t->at >= 2 && (t->at[0] != '*' || t->at[1] != '/'); t->at++)
                ;
            t->at = t->end - t->at >= 2 ? t->at + 2 : t->end;
        } else {
            return;
        }
    }
}

/* A word with the dots in it, as `.global`, `ld.global.u32` and `name`, or one other character. */
static struct text next(struct text *t)
{
    struct text token;

    skip_space(t);
    token.at = t->at;
    if (t->at < t->end && *t->at == '"') {
        for (t->at++; t->at < t->end && *t->at != '"'; t->at++)
            ;
        t->at += t->at < t->end;
    } else if (t->at < t->end && *t->at == '.') { /* each directive ends before the next one's dot */
        for (t->at++; t->at < t->end && is_word(*t->at); t->at++)
            ;
    } else if (t->at < t->end && is_word(*t->at)) {
        while (t->at < t->end && (is_word(*t->at) || *t->at == '.' || *t->at == ':'))
            t->at++;
    } else {
        t->at += t->at < t->end;
    }
    token.end = t->at;
    return token;
}

static int is(struct text token, const char *what)
{
    size_t length = strlen(what);

    return (size_t)(token.end - token.at) == length && !memcmp(token.at, what, length);
}

static uint64_t number(struct text token)
{
    uint64_t value = 0;
    unsigned int base = 10;

    if (token.end - token.at > 1 && *token.at == '0') {
        char mark = token.at[1] | 0x20;

        base = mark == 'x' ? 16 : mark == 'b' ? 2 : 8;
        token.at += base == 8 ? 1 : 2;
    }
    for (; token.at < token.end; token.at++) {
        unsigned int digit = *token.at <= '9' ? (unsigned int)(*token.at - '0')
                                              : (unsigned int)((*token.at | 0x20) - 'a') + 10;

        if (digit >= base) /* U at the end */
            break;
        value = gs_plus(gs_times(value, base), digit);
    }
    return value;
}

/* Bytes of an element of that type; 0: not a type.  `.f16x2` and the like are their own bits twice. */
static uint64_t type_bytes(struct text token)
{
    uint64_t bits;

    if (is(token, ".texref") || is(token, ".samplerref") || is(token, ".surfref"))
        return 64;
    if (is(token, ".pred"))
        return 1;
    if (token.end - token.at < 3 || !strchr("bsuf", token.at[1]))
        return 0;
    token.at += token.at[1] == 'b' && token.at[2] == 'f' ? 3 : 2;
    if (token.at == token.end || *token.at < '1' || *token.at > '9')
        return 0;
    bits = number(token);
    for (; token.at < token.end && *token.at != 'x'; token.at++)
        ;
    if (token.at < token.end)
        bits = gs_times(bits, number((struct text){token.at + 1, token.end}));
    return (bits + 7) / 8;
}

static void skip_brackets(struct text *t)
{
    int depth = 1;

    while (t->at < t->end && depth) {
        struct text token = next(t);

        depth += is(token, "(") - is(token, ")");
    }
}

/* The number of values behind `=`; leaves what ends the declaration. */
static uint64_t count_values(struct text *t)
{
    uint64_t values = 1;
    int depth = 0;

    while (t->at < t->end) {
        struct text before = *t, token = next(t);

        depth += is(token, "{") + is(token, "(") - is(token, "}") - is(token, ")");
        if (depth == 0 && (is(token, ";") || is(token, ","))) {
            *t = before;
            break;
        }
        values += is(token, ",");
    }
    return values;
}

/* `a[3][5] = {…}`, whose first dimension may be left to the values. */
static uint64_t count_elements(struct text *t)
{
    uint64_t elements = 1;
    int open = 0; /* a dimension is not given */

    while (t->at < t->end) {
        struct text before = *t, token = next(t);

        if (is(token, "[")) {
            token = next(t);
            if (is(token, "]")) {
                open = 1;
            } else {
                elements = gs_times(elements, number(token));
                next(t);
            }
        } else if (is(token, "=")) {
            uint64_t values = count_values(t);

            return open ? gs_times(elements, values) : elements;
        } else {
            *t = before;
            break;
        }
    }
    return open ? 0 : elements; /* of another module */
}

/* Behind the state space. */
static uint64_t declared(struct text *t)
{
    uint64_t bytes = 0, grain = GS_VARIABLE_GRAIN, element = 0, vector = 1;

    while (t->at < t->end) {
        struct text before = *t, token = next(t);

        if (is(token, ".align")) {
            uint64_t align = number(next(t));

            grain = gs_larger(grain, align);
        } else if (is(token, ".attribute")) {
            next(t);
            skip_brackets(t);
        } else if (is(token, ".v2") || is(token, ".v4") || is(token, ".v8")) {
            vector = (uint64_t)(token.at[2] - '0');
        } else if (type_bytes(token)) {
            element = type_bytes(token);
        } else if (is_word(*token.at) && element) {
            bytes = gs_plus(bytes, gs_plus(gs_times(gs_times(element, vector), count_elements(t)), grain));
        } else if (!is(token, ",") || !element) {
            *t = before; /* the end, or something that we need not know */
            break;
        }
    }
    return bytes;
}

uint64_t gs_code_size_of_ptx(const char *text, size_t length)
{
    struct text t = {text, text + length};
    uint64_t bytes = gs_times(length, GS_CODE_PER_TEXT);

    while (t.at < t.end) {
        struct text token = next(&t);

        if (is(token, ".global") || is(token, ".const"))
            bytes = gs_plus(bytes, declared(&t));
    }
    return bytes;
}
