#include "worker/train/conv.h"

#include "worker/train/wide.h"

#include <cblas.h>
#include <string.h>

/* Values of a column: one for each place of the window and channel. */
static size_t depth(const struct sp_conv *conv)
{
    return (size_t)conv->in * conv->kernel * conv->kernel;
}

/* Output rows, of all images one after the other, that are done at a time: at least one, at most all of them. */
static size_t rows_at_once(const struct sp_conv *conv)
{
    const size_t by_room = SP_CONV_ROOM_BYTES / sizeof(float) / depth(conv);
    const size_t columns = by_room > SP_CONV_COLUMNS_MIN ? by_room : SP_CONV_COLUMNS_MIN;

    return columns > conv->out_width ? columns / conv->out_width : 1;
}

/* The image with a margin of zeros all around, of which a strip is made at a time. */
static size_t margin_width(const struct sp_conv *conv)
{
    return conv->in_width + (size_t)2 * conv->pad;
}

/* Columns first, then the margin's strip: at most a whole image. */
static size_t columns_room(const struct sp_conv *conv)
{
    return rows_at_once(conv) * depth(conv) * conv->out_width;
}

uint64_t sp_conv_room(const struct sp_conv *conv)
{
    return columns_room(conv) + ((uint64_t)conv->out_height * conv->stride + conv->kernel) * margin_width(conv);
}

/* Some output rows of one image, and the rows with margin that their windows reach over. */
struct strip {
    size_t image, row, rows, reach;
};

/* The strip that output row `first` of all images begins, up to row `end`. */
static struct strip next_strip(const struct sp_conv *conv, size_t first, size_t end)
{
    struct strip strip = {.image = first / conv->out_height, .row = first % conv->out_height};

    strip.rows = conv->out_height - strip.row;
    strip.rows = strip.rows < end - first ? strip.rows : end - first;
    strip.reach = (strip.rows - 1) * conv->stride + conv->kernel;
    return strip;
}

/* The image's row that row i of a strip is, or -1 if it is all margin. */
static ptrdiff_t image_row(const struct sp_conv *conv, const struct strip *strip, size_t i)
{
    ptrdiff_t row = (ptrdiff_t)(strip->row * conv->stride + i) - (ptrdiff_t)conv->pad;

    return row < (ptrdiff_t)conv->in_height ? row : -1;
}

static void cut_strip(const struct sp_conv *conv, const struct strip *strip, const float *image, float *to)
{
    memset(to, 0, strip->reach * margin_width(conv) * sizeof *to);
    for (size_t i = 0; i < strip->reach; i++) {
        ptrdiff_t row = image_row(conv, strip, i);

        if (row >= 0)
            memcpy(to + i * margin_width(conv) + conv->pad, image + (size_t)row * conv->in_width,
                   conv->in_width * sizeof *to);
    }
}

SP_WIDE static void add_strip(const struct sp_conv *conv, const struct strip *strip, const float *from, float *image)
{
    for (size_t i = 0; i < strip->reach; i++) {
        ptrdiff_t row = image_row(conv, strip, i);

        for (size_t c = 0; row >= 0 && c < conv->in_width; c++)
            image[(size_t)row * conv->in_width + c] += from[i * margin_width(conv) + conv->pad + c];
    }
}

/* One place of the window, for all rows of a strip: from its rows, `step` apart, to a row of `columns`, or back. With a
 * constant width these loops are a few instructions a row, which is why the common ones have cases below. */
static inline __attribute__((always_inline)) void copy_rows(const float *from, size_t step, float *to, size_t rows,
                                                            size_t width, size_t stride)
{
    for (size_t r = 0; r < rows; r++, from += step, to += width)
        for (size_t c = 0; c < width; c++)
            to[c] = from[c * stride];
}

static inline __attribute__((always_inline)) void add_rows(const float *from, size_t step, float *to, size_t rows,
                                                           size_t width, size_t stride)
{
    for (size_t r = 0; r < rows; r++, from += width, to += step)
        for (size_t c = 0; c < width; c++)
            to[c * stride] += from[c];
}

#define WITH_CONSTANT_WIDTH(do_rows, from, step, to, rows, width, stride)                                              \
    switch ((stride) == 1 ? (width) : 0) {                                                                             \
    case 4:                                                                                                            \
        do_rows(from, step, to, rows, 4, 1);                                                                           \
        break;                                                                                                         \
    case 8:                                                                                                            \
        do_rows(from, step, to, rows, 8, 1);                                                                           \
        break;                                                                                                         \
    case 16:                                                                                                           \
        do_rows(from, step, to, rows, 16, 1);                                                                          \
        break;                                                                                                         \
    case 32:                                                                                                           \
        do_rows(from, step, to, rows, 32, 1);                                                                          \
        break;                                                                                                         \
    default:                                                                                                           \
        do_rows(from, step, to, rows, width, stride);                                                                  \
    }

SP_WIDE static void gather_place(const float *from, size_t step, float *to, size_t rows, size_t width,
                                 size_t stride){WITH_CONSTANT_WIDTH(copy_rows, from, step, to, rows, width, stride)}

SP_WIDE static void scatter_place(const float *from, size_t step, float *to, size_t rows, size_t width, size_t stride)
{
    WITH_CONSTANT_WIDTH(add_rows, from, step, to, rows, width, stride)
}

/* The row of `columns` for a place of the window in a channel. */
static size_t place(const struct sp_conv *conv, size_t channel, size_t a, size_t b)
{
    return (channel * conv->kernel + a) * conv->kernel + b;
}

/* Output rows first..first+rows-1 of all images, from x to `columns`, or back to d_x, to which it is added. */
static void gather(const struct sp_conv *conv, const float *x, struct sp_planes planes, size_t first, size_t rows,
                   float *margin, float *columns)
{
    const size_t width = conv->out_width, step = margin_width(conv) * conv->stride;
    struct strip strip;

    for (size_t done = 0; done < rows; done += strip.rows) {
        strip = next_strip(conv, first + done, first + rows);
        for (size_t k = 0; k < conv->in; k++) {
            cut_strip(conv, &strip, x + k * planes.channel + strip.image * planes.image, margin);
            for (size_t a = 0; a < conv->kernel; a++)
                for (size_t b = 0; b < conv->kernel; b++)
                    gather_place(margin + a * margin_width(conv) + b, step,
                                 columns + ((place(conv, k, a, b) * rows + done) * width), strip.rows, width,
                                 conv->stride);
        }
    }
}

static void scatter(const struct sp_conv *conv, const float *columns, uint32_t n, size_t first, size_t rows,
                    float *margin, float *d_x)
{
    const size_t width = conv->out_width, step = margin_width(conv) * conv->stride;
    const size_t image = (size_t)conv->in_height * conv->in_width;
    struct strip strip;

    for (size_t done = 0; done < rows; done += strip.rows) {
        strip = next_strip(conv, first + done, first + rows);
        for (size_t k = 0; k < conv->in; k++) {
            memset(margin, 0, strip.reach * margin_width(conv) * sizeof *margin);
            for (size_t a = 0; a < conv->kernel; a++)
                for (size_t b = 0; b < conv->kernel; b++)
                    scatter_place(columns + ((place(conv, k, a, b) * rows + done) * width), step,
                                  margin + a * margin_width(conv) + b, strip.rows, width, conv->stride);
            add_strip(conv, &strip, margin, d_x + (k * n + strip.image) * image);
        }
    }
}

void sp_conv_forward(const struct sp_conv *conv, const float *x, struct sp_planes planes, const float *weight,
                     const float *bias, uint32_t n, float *room, float *y)
{
    const size_t all = (size_t)n * conv->out_height, step = rows_at_once(conv), width = conv->out_width;

    for (size_t o = 0; bias != NULL && o < conv->out; o++)
        for (size_t i = 0; i < all * width; i++)
            y[o * all * width + i] = bias[o];
    for (size_t first = 0; first < all; first += step) {
        const size_t rows = all - first < step ? all - first : step;

        gather(conv, x, planes, first, rows, room + columns_room(conv), room);
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)conv->out, (int)(rows * width), (int)depth(conv),
                    1.0f, weight, (int)depth(conv), room, (int)(rows * width), bias != NULL ? 1.0f : 0.0f,
                    y + first * width, (int)(all * width));
    }
}

void sp_conv_backward(const struct sp_conv *conv, const float *x, struct sp_planes planes, const float *weight,
                      const float *d_y, uint32_t n, float *room, float *d_weight, float *d_bias, float *d_x)
{
    const size_t all = (size_t)n * conv->out_height, step = rows_at_once(conv), width = conv->out_width;

    for (size_t o = 0; d_bias != NULL && o < conv->out; o++)
        d_bias[o] = (float)sp_wide_sum(d_y + o * all * width, all * width);
    for (size_t first = 0; first < all; first += step) {
        const size_t rows = all - first < step ? all - first : step;

        gather(conv, x, planes, first, rows, room + columns_room(conv), room);
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)conv->out, (int)depth(conv), (int)(rows * width),
                    1.0f, d_y + first * width, (int)(all * width), room, (int)(rows * width), first > 0 ? 1.0f : 0.0f,
                    d_weight, (int)depth(conv));
        if (d_x == NULL)
            continue;
        cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)depth(conv), (int)(rows * width), (int)conv->out,
                    1.0f, weight, (int)depth(conv), d_y + first * width, (int)(all * width), 0.0f, room,
                    (int)(rows * width));
        scatter(conv, room, n, first, rows, room + columns_room(conv), d_x);
    }
}
