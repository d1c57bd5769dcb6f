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
    size_t rows = SP_CONV_ROOM_BYTES / sizeof(float) / (depth(conv) * conv->out_width);

    return rows > 0 ? rows : 1;
}

uint64_t sp_conv_room(const struct sp_conv *conv)
{
    return (uint64_t)rows_at_once(conv) * depth(conv) * conv->out_width;
}

/* The columns c of an output row for which the window's column b is inside of the image: *first up to *end. */
static void inside(const struct sp_conv *conv, uint32_t b, uint32_t *first, uint32_t *end)
{
    /* c*stride - pad + b must be at least 0 and below in_width. */
    uint32_t before = conv->pad > b ? conv->pad - b : 0;
    uint32_t reach = conv->in_width + conv->pad > b ? conv->in_width + conv->pad - b : 0;

    *first = (before + conv->stride - 1) / conv->stride;
    *end = (reach + conv->stride - 1) / conv->stride;
    *first = *first < conv->out_width ? *first : conv->out_width;
    *end = *end < conv->out_width ? *end : conv->out_width;
    *end = *end > *first ? *end : *first;
}

/* The image's row that the window's row a meets in output row r of an image, or -1 if that is outside. */
static ptrdiff_t meets(const struct sp_conv *conv, size_t r, uint32_t a)
{
    ptrdiff_t row = (ptrdiff_t)(r * conv->stride + a) - (ptrdiff_t)conv->pad;

    return row < (ptrdiff_t)conv->in_height ? row : -1;
}

/* One row of `columns`: the value under one place of the window, for output rows first..first+rows-1. */
SP_WIDE static void gather_place(const struct sp_conv *conv, const float *x, size_t image, uint32_t a, uint32_t b,
                                 size_t first, size_t rows, float *to)
{
    uint32_t left, right;

    inside(conv, b, &left, &right);
    for (size_t r = first; r < first + rows; r++, to += conv->out_width) {
        ptrdiff_t row = meets(conv, r % conv->out_height, a);
        const float *from;

        if (row < 0) {
            memset(to, 0, conv->out_width * sizeof *to);
            continue;
        }
        for (uint32_t c = 0; c < left; c++)
            to[c] = 0.0f;
        from = x + r / conv->out_height * image + (size_t)row * conv->in_width;
        if (conv->stride == 1)
            for (uint32_t c = left; c < right; c++)
                to[c] = from[c + b - conv->pad];
        else
            for (uint32_t c = left; c < right; c++)
                to[c] = from[c * conv->stride + b - conv->pad];
        for (uint32_t c = right; c < conv->out_width; c++)
            to[c] = 0.0f;
    }
}

/* The other way: adds what lies under one place of the window to the image. */
SP_WIDE static void scatter_place(const struct sp_conv *conv, const float *from, size_t image, uint32_t a, uint32_t b,
                                  size_t first, size_t rows, float *x)
{
    uint32_t left, right;

    inside(conv, b, &left, &right);
    for (size_t r = first; r < first + rows; r++, from += conv->out_width) {
        ptrdiff_t row = meets(conv, r % conv->out_height, a);
        float *to;

        if (row < 0)
            continue;
        to = x + r / conv->out_height * image + (size_t)row * conv->in_width;
        if (conv->stride == 1)
            for (uint32_t c = left; c < right; c++)
                to[c + b - conv->pad] += from[c];
        else
            for (uint32_t c = left; c < right; c++)
                to[c * conv->stride + b - conv->pad] += from[c];
    }
}

static void gather(const struct sp_conv *conv, const float *x, struct sp_planes planes, size_t first, size_t rows,
                   float *columns)
{
    for (size_t k = 0; k < conv->in; k++)
        for (uint32_t a = 0; a < conv->kernel; a++)
            for (uint32_t b = 0; b < conv->kernel; b++, columns += rows * conv->out_width)
                gather_place(conv, x + k * planes.channel, planes.image, a, b, first, rows, columns);
}

static void scatter(const struct sp_conv *conv, const float *columns, uint32_t n, size_t first, size_t rows, float *d_x)
{
    const size_t image = (size_t)conv->in_height * conv->in_width;

    for (size_t k = 0; k < conv->in; k++)
        for (uint32_t a = 0; a < conv->kernel; a++)
            for (uint32_t b = 0; b < conv->kernel; b++, columns += rows * conv->out_width)
                scatter_place(conv, columns, image, a, b, first, rows, d_x + k * n * image);
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

        gather(conv, x, planes, first, rows, room);
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

        gather(conv, x, planes, first, rows, room);
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)conv->out, (int)depth(conv), (int)(rows * width),
                    1.0f, d_y + first * width, (int)(all * width), room, (int)(rows * width), first > 0 ? 1.0f : 0.0f,
                    d_weight, (int)depth(conv));
        if (d_x == NULL)
            continue;
        cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)depth(conv), (int)(rows * width), (int)conv->out,
                    1.0f, weight, (int)depth(conv), d_y + first * width, (int)(all * width), 0.0f, room,
                    (int)(rows * width));
        scatter(conv, room, n, first, rows, d_x);
    }
}
