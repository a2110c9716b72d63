/* any_array.h: arrays of any layout, made from bytes: those of a fuzzer, or of a random generator. */
#ifndef ANY_ARRAY_H
#define ANY_ARRAY_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fastconv.h"

/* Bytes, one after the other; when they are used up, zeros, or (random) a generator's. */
struct source {
    const uint8_t *next, *end;
    uint64_t state;
    bool random;
};

/* Sizes and strides are an image's n h w c or a kernel's kh kw c_in c_out. It reaches over elements
 * from memory on, of which the first is `before` elements before data. */
struct array {
    bool present, output;
    size_t element;
    int64_t size[4], stride[4], before, elements;
    char *memory;
};

static inline uint64_t next_random(uint64_t *state) /* splitmix64 */
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* A number of [low, high]; low where a fuzzer has no more to say. */
static inline int64_t draw(struct source *source, int64_t low, int64_t high)
{
    const uint64_t range = (uint64_t)high - (uint64_t)low;
    uint64_t number = 0;
    if (source->random)
        number = next_random(&source->state);
    else
        for (uint64_t left = range; left > 0 && source->next < source->end; left >>= 8)
            number = number << 8 | *source->next++;
    return (int64_t)((uint64_t)low + (range == UINT64_MAX ? number : number % (range + 1)));
}

static inline bool once_in(struct source *source, int64_t times)
{
    return draw(source, 0, times - 1) == times - 1;
}

static inline int64_t draw_of(struct source *source, const int64_t numbers[], size_t count)
{
    return numbers[draw(source, 0, (int64_t)count - 1)];
}
#define DRAW_OF(source, ...)                        \
    draw_of(source, (const int64_t[]){__VA_ARGS__}, \
            sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t))

/* ------------------------------------------------------------------ arrays */

/* Elements that a call may reach over in one array, and multiply-adds it may take. */
static const int64_t MOST_ELEMENTS = 60000;
static const double MOST_WORK = 4e6;

static inline bool is_bounded(const int64_t size[4])
{
    double elements = 1;
    for (int i = 0; i < 4; i++)
        elements *= (double)size[i];
    return elements <= (double)MOST_ELEMENTS;
}

/* Strides for the sizes: dimensions in any order, with gaps, backwards, or (inputs) all at one
 * place; whether it fits. */
static inline bool lay_out(struct source *source, struct array *array)
{
    static const int orders[4][4] = {{0, 1, 2, 3}, {0, 3, 1, 2}, {3, 0, 2, 1}, {2, 1, 0, 3}};
    const int *order = orders[draw(source, 0, 7) % (once_in(source, 4) ? 4 : 2)];
    const bool odd = once_in(source, 4);
    int64_t step = 1;
    array->before = 0;
    array->elements = 1;
    for (int i = 3; i >= 0; i--) {
        const int d = order[i];
        const int64_t size = array->size[d];
        array->stride[d] = step;
        if (odd && once_in(source, 3))
            array->stride[d] += draw(source, 1, 3);
        step = array->stride[d] * (size > 1 ? size : 1);
        if (step > 4 * MOST_ELEMENTS)
            return false;
        if (odd && !array->output && once_in(source, 8))
            array->stride[d] = 0;
        if (size > 1)
            array->elements += (size - 1) * array->stride[d];
        if (odd && once_in(source, 4)) {
            array->before += size > 1 ? (size - 1) * array->stride[d] : 0;
            array->stride[d] = -array->stride[d];
        }
    }
    for (int i = 0; i < 4; i++)
        if (array->size[i] <= 0)
            array->before = array->elements = 0;
    return array->elements <= MOST_ELEMENTS;
}

static inline void *data_of(const struct array *array)
{
    return array->memory ? array->memory + array->before * (int64_t)array->element : NULL;
}

static inline fc_image image_of(const struct array *array)
{
    const int64_t *n = array->size, *s = array->stride;
    return (fc_image){data_of(array), n[0], n[1], n[2], n[3], s[0], s[1], s[2], s[3]};
}

static inline fc_weights weights_of(const struct array *array)
{
    const int64_t *n = array->size, *s = array->stride;
    return (fc_weights){data_of(array), n[0], n[1], n[2], n[3], s[0], s[1], s[2], s[3]};
}

static inline size_t bytes_of(const struct array *array)
{
    return (size_t)array->elements * array->element;
}

static inline double any_value(uint64_t *state, bool plain)
{
    static const double odd[] = {NAN, INFINITY, -INFINITY, 1e-310, -1e-40, -0.0, 1e300, 1e38};
    const uint64_t number = next_random(state);
    if (!plain && number % 16 == 0)
        return odd[number / 16 % 8];
    return (double)(number >> 11) / (double)(INT64_C(1) << 52) - 1;
}

/* ---------------------------------------------------------------- elements */

typedef void visitor(void *context, char *element, size_t bytes);

static inline void visit(const struct array *array, visitor *see, void *context)
{
    const int64_t *n = array->size, *s = array->stride;
    for (int64_t a = 0; a < n[0]; a++)
        for (int64_t b = 0; b < n[1]; b++)
            for (int64_t c = 0; c < n[2]; c++)
                for (int64_t d = 0; d < n[3]; d++)
                    see(context,
                        (char *)data_of(array) +
                            (a * s[0] + b * s[1] + c * s[2] + d * s[3]) * (int64_t)array->element,
                        array->element);
}

static inline void hash_element(void *context, char *element, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        *(uint64_t *)context =
            (*(uint64_t *)context ^ (unsigned char)element[i]) * UINT64_C(1099511628211);
}

static inline void see_nan(void *context, char *element, size_t bytes)
{
    if (bytes == 4 ? isnan(*(float *)(void *)element) : isnan(*(double *)(void *)element))
        *(bool *)context = true;
}

static inline void erase(void *context, char *element, size_t bytes)
{
    (void)context;
    memset(element, 0xff, bytes);
}

static inline bool is_untouched(const struct array *array)
{
    const size_t bytes = bytes_of(array);
    return bytes == 0 || ((unsigned char)array->memory[0] == 0xff &&
                          memcmp(array->memory, array->memory + 1, bytes - 1) == 0);
}

#endif
