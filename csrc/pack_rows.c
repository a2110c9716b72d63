/* pack_rows.c: rows of an image, padded, in the layout that the tiles read.
 *
 * Packing costs a load and a store an element that is then used taps * c_out times; it makes every
 * padding, padding mode, stride and layout look the same to the tiles. */
#include "pack_rows.h"

#include <string.h>

#include "dispatch.h"

struct fc_padded fc_padded_x(const struct fc_convolution *convolution,
                             const struct fc_conv2d_kernels *kernels, bool skip_rows)
{
    return (struct fc_padded){.kernels = kernels,
                              .element = fc_element_size(convolution->dtype),
                              .x = convolution->x,
                              .mode = convolution->padding_mode,
                              .value = convolution->padding_value,
                              .skip_rows = skip_rows};
}

/* Tiles that hang over read beyond all padding, for outputs that are not stored: anything will do. */
static int64_t clamp(int64_t v, int64_t size) { return fc_max(fc_min(v, size - 1), 0); }

int64_t fc_padding_source(fc_padding_mode mode, int64_t v, int64_t size)
{
    if (v >= 0 && v < size)
        return v;
    switch (mode) {
    case FC_REFLECT:
        return clamp(v < 0 ? -v : 2 * (size - 1) - v, size);
    case FC_EDGE:
        return clamp(v, size);
    case FC_WRAP:
        return clamp(v < 0 ? v + size : v - size, size);
    case FC_CONSTANT:
        break;
    }
    return -1;
}

/* Some channels of x and where they go. In x they are evenly spaced, or at a table of offsets; in the
 * packed rows a channel, a pixel and a row are so many elements from the next. */
struct stream {
    const struct fc_padded *padded;
    const char *x; /* channel 0 of the stream at row 0, column 0 of the image */
    const ptrdiff_t *offset;
    ptrdiff_t x_channel;
    int64_t channels, channel, pixel, row;
    int64_t slabs,
        slab; /* of whole slabs of channels that lie together: how many, and how far apart */
};

void fc_fill_padding(const struct fc_padded *padded, void *to, int64_t count)
{
    if (padded->value == 0) {
        memset(to, 0, (size_t)count * padded->element);
    } else if (padded->element == sizeof(float)) {
        for (int64_t i = 0; i < count; i++)
            ((float *)to)[i] = (float)padded->value;
    } else {
        for (int64_t i = 0; i < count; i++)
            ((double *)to)[i] = padded->value;
    }
}

static void copy_pixels(const struct stream *stream, const char *row, int64_t column,
                        int64_t pixels, char *to)
{
    const struct fc_padded *padded = stream->padded;
    const char *from = row + column * padded->x.stride_w * (ptrdiff_t)padded->element;
    if (stream->offset) {
        padded->kernels->gather_lanes(&(struct fc_gather){
            .x = from,
            .y = to,
            .offset = stream->offset,
            .x_pixel = padded->x.stride_w,
            .y_pixel = stream->pixel,
            .pixels = pixels,
            .lanes = stream->channels,
        });
        return;
    }
    if (stream->slabs) {
        padded->kernels->copy_slabs(&(struct fc_slabs){
            .x = from,
            .y = to,
            .x_pixel = padded->x.stride_w,
            .slab = stream->slab,
            .pixels = pixels,
            .slabs = stream->slabs,
        });
        return;
    }
    padded->kernels->copy_block(&(struct fc_block){
        .x = from,
        .y = to,
        .x_pixel = padded->x.stride_w,
        .x_channel = stream->x_channel,
        .y_pixel = stream->pixel,
        .y_channel = stream->channel,
        .pixels = pixels,
        .channels = stream->channels,
    });
}

static void fill_pixels(const struct stream *stream, int64_t count, char *to)
{
    const struct fc_padded *padded = stream->padded;
    const ptrdiff_t element = (ptrdiff_t)padded->element;
    for (int64_t s = 0; s < stream->slabs; s++)
        fc_fill_padding(padded, to + s * stream->slab * element, count * FC_SLAB);
    if (stream->slabs)
        return;
    if (stream->channel == 1 && stream->channels == stream->pixel) {
        fc_fill_padding(padded, to, count * stream->pixel);
        return;
    }
    for (int64_t c = 0; c < stream->channels; c++)
        for (int64_t i = 0; i < count; i++)
            fc_fill_padding(padded, to + (c * stream->channel + i * stream->pixel) * element, 1);
}

/* Columns [column, column + count), all to one side of the image. */
static void pad_pixels(const struct stream *stream, const char *row, int64_t column, int64_t count,
                       char *to)
{
    const struct fc_padded *padded = stream->padded;
    if (padded->mode == FC_CONSTANT) {
        fill_pixels(stream, count, to);
        return;
    }
    for (int64_t i = 0; i < count; i++)
        copy_pixels(stream, row, fc_padding_source(padded->mode, column + i, padded->x.w), 1,
                    to + i * stream->pixel * (ptrdiff_t)padded->element);
}

static void pack_row(const struct stream *stream, const struct fc_patch *patch, int64_t v, char *to)
{
    const struct fc_padded *padded = stream->padded;
    const int64_t bytes = stream->pixel * (int64_t)padded->element;
    const int64_t h = fc_padding_source(padded->mode, v, padded->x.h);
    const int64_t begin = patch->x_column, end = begin + patch->x_columns;
    if (h < 0) {
        if (!padded->skip_rows)
            pad_pixels(stream, NULL, begin, patch->x_columns, to);
        return;
    }
    const char *row = stream->x + h * padded->x.stride_h * (ptrdiff_t)padded->element;
    const int64_t inside = fc_min(fc_max(begin, 0), end);
    const int64_t beyond = fc_max(fc_min(end, padded->x.w), inside);
    if (begin < inside)
        pad_pixels(stream, row, begin, inside - begin, to);
    if (inside < beyond)
        copy_pixels(stream, row, inside, beyond - inside, to + (inside - begin) * bytes);
    if (beyond < end)
        pad_pixels(stream, row, beyond, end - beyond, to + (beyond - begin) * bytes);
}

static void pack_stream(const struct stream *stream, const struct fc_patch *patch, char *to)
{
    const fc_image *x = &stream->padded->x;
    const int64_t bytes = stream->row * (int64_t)stream->padded->element;
    /* Whole rows that follow each other at both ends are one. */
    if (patch->x_column == 0 && patch->x_columns == x->w && fc_rows_together(x, x->w) &&
        patch->x_row >= 0 && patch->x_row + patch->x_rows <= x->h && patch->x_row_gap == 1 &&
        stream->row == x->w * stream->pixel) {
        copy_pixels(stream,
                    stream->x + patch->x_row * x->stride_h * (int64_t)stream->padded->element, 0,
                    patch->x_rows * x->w, to);
        return;
    }
    for (int64_t r = 0; r < patch->x_rows; r++)
        pack_row(stream, patch, patch->x_row + r * patch->x_row_gap, to + r * bytes);
}

static const char *channel_of(const struct fc_padded *padded, int64_t n, int64_t c)
{
    return fc_image_at(&padded->x, (ptrdiff_t)padded->element, n, 0, 0, c);
}

/* Channels of which a pixel's lie together. Planes are read some at a time, all rows of them, in the order of
 * memory. */
static void pack_slab(const struct fc_padded *padded, int64_t n, const struct fc_patch *patch,
                      int64_t c, int64_t count, char *to)
{
    const int64_t some = padded->x.stride_c == 1 ? count : FC_SLAB;
    for (int64_t done = 0; done < count; done += some) {
        const struct stream stream = {.padded = padded,
                                      .x = channel_of(padded, n, c + done),
                                      .x_channel = padded->x.stride_c,
                                      .channels = fc_min(some, count - done),
                                      .channel = 1,
                                      .pixel = count,
                                      .row = patch->x_columns * count};
        pack_stream(&stream, patch, to + done * (int64_t)padded->element);
    }
}

void fc_pack_slabs(const struct fc_padded *padded, int64_t n, const struct fc_patch *patch,
                   int64_t slab, int64_t c, int64_t count, void *to)
{
    const int64_t pixels = patch->x_rows * patch->x_columns;
    int64_t done = 0;
    if (padded->x.stride_c == 1 && slab == FC_SLAB && count >= slab) {
        const struct stream whole = {.padded = padded,
                                     .x = channel_of(padded, n, c),
                                     .pixel = slab,
                                     .row = patch->x_columns * slab,
                                     .slabs = count / slab,
                                     .slab = pixels * slab};
        pack_stream(&whole, patch, to);
        done = count - count % slab;
    }
    for (; done < count; done += slab)
        pack_slab(padded, n, patch, c + done, fc_min(slab, count - done),
                  (char *)to + pixels * done * (int64_t)padded->element);
}

void fc_pack_planes(const struct fc_padded *padded, int64_t n, const struct fc_patch *patch,
                    int64_t pitch, int64_t c, int64_t count, void *to)
{
    const struct stream stream = {.padded = padded,
                                  .x = channel_of(padded, n, c),
                                  .x_channel = padded->x.stride_c,
                                  .channels = count,
                                  .channel = patch->x_rows * pitch,
                                  .pixel = 1,
                                  .row = pitch};
    pack_stream(&stream, patch, to);
}

void fc_pack_lanes(const struct fc_padded *padded, int64_t n, const struct fc_patch *patch,
                   const struct fc_kernel_view *kernel, int64_t k, int64_t outputs, int64_t width,
                   int64_t c, int64_t count, void *to)
{
    const int64_t bytes = patch->x_rows * patch->x_columns * width * (int64_t)padded->element;
    if (outputs < width)
        memset(to, 0, (size_t)(count * bytes));
    ptrdiff_t offset[FC_PANEL_UNITS * FC_UNIT_BYTES / sizeof(float)];
    for (int64_t lane = 0; lane < outputs; lane++)
        offset[lane] = (k + lane) / kernel->c_out * kernel->c_in * padded->x.stride_c;
    const struct stream stream = {
        .padded = padded,
        /* With one output a group the lanes' channels are evenly spaced, c_in apart. */
        .offset = kernel->c_out == 1 ? NULL : offset,
        .x_channel = padded->x.stride_c * kernel->c_in,
        .channels = outputs,
        .channel = 1,
        .pixel = width,
        .row = patch->x_columns * width,
    };
    const int64_t first = kernel->c_out == 1 ? k * kernel->c_in : 0;
    for (int64_t i = 0; i < count; i++) {
        struct stream channel = stream;
        channel.x = channel_of(padded, n, first + c + i);
        pack_stream(&channel, patch, (char *)to + i * bytes);
    }
}
