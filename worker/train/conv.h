/* Convolution by im2col and GEMM, forward and backward side by side, like layers.h.
 *
 * Images between convolutional layers lie channel by channel, [channels, n, height, width], so that one GEMM
 *     y = weight [out, in*kernel*kernel]  x  columns [in*kernel*kernel, n*out_height*out_width]
 * writes a layer's output as it lies, and what is done for each channel has its values side by side. `columns` is made
 * for some output rows at a time, in room of SP_CONV_ROOM_BYTES, or more where SP_CONV_COLUMNS_MIN columns, or those of
 * a single row, need more.
 *
 * A batch as it comes from the data lies [n, channels, height, width]; struct sp_planes says which of the two it is.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* A part of a core's second-level cache; larger rooms were no faster. But at least so many columns, for a GEMM packs
 * the weights anew each time. */
#define SP_CONV_ROOM_BYTES (UINT64_C(256) << 10)
#define SP_CONV_COLUMNS_MIN 256

/* Where the pixel (c, i, row, column) of images is: c*channel + i*image + row*width + column. */
struct sp_planes {
    size_t channel, image;
};

struct sp_conv {
    uint32_t in, out; /* channels */
    uint32_t kernel;  /* height and width of the window */
    uint32_t stride, pad;
    uint32_t in_height, in_width;
    uint32_t out_height, out_width; /* (in + 2*pad - kernel)/stride + 1, rounded down */
};

/* Floats of the room that the two functions below work in. */
uint64_t sp_conv_room(const struct sp_conv *conv);

/* y[o, i, r, c] = bias[o] + the sum over k, a, b of weight[o, k, a, b] * x[k, i, r*stride - pad + a, c*stride - pad +
 * b], the convention of torch.nn.Conv2d; x is 0 outside. weight [out, in, kernel, kernel], bias [out] or NULL, y [out,
 * n, out_height, out_width]. */
void sp_conv_forward(const struct sp_conv *conv, const float *x, struct sp_planes planes, const float *weight,
                     const float *bias, uint32_t n, float *room, float *y);

/* Overwrites d_weight and d_bias (NULL if there is no bias), and ADDS to d_x, which lies channel by channel
 * [in, n, in_height, in_width] and may be NULL. d_y is as y above. */
void sp_conv_backward(const struct sp_conv *conv, const float *x, struct sp_planes planes, const float *weight,
                      const float *d_y, uint32_t n, float *room, float *d_weight, float *d_bias, float *d_x);
