/* ResNet-18 (K. He et al., 'Deep residual learning for image recognition', CVPR 2016) in the form for small images: a
 * 3x3 stem without pooling, then as in the paper. Names are torchvision's. */
#include "worker/train/model_parts.h"

#include <stdio.h>

#define BLOCK_BYTES 28
#define NAME_BYTES 48

static void conv_norm(struct sp_builder *b, const char *block, const char *conv, const char *norm, uint32_t out,
                      uint32_t kernel, uint32_t stride, uint32_t around, bool relu)
{
    char name[NAME_BYTES];

    (void)snprintf(name, sizeof name, "%s%s", block, conv);
    sp_build_conv(b, name, out, kernel, stride, kernel / 2, false);
    (void)snprintf(name, sizeof name, "%s%s", block, norm);
    sp_build_norm(b, name, around, relu);
}

/* Two convolutions, and a way around them: the block's input, or a 1x1 convolution of it where sizes differ. */
static void basic_block(struct sp_builder *b, const char *block, uint32_t out, uint32_t stride)
{
    const uint32_t input = b->at;
    const bool downsample = stride != 1 || b->model->values[input].shape.channels != out;
    char name[NAME_BYTES];
    uint32_t middle, around = input;

    conv_norm(b, block, "conv1", "bn1", out, 3, stride, SP_NONE, true);
    (void)snprintf(name, sizeof name, "%sconv2", block);
    sp_build_conv(b, name, out, 3, 1, 1, false);
    middle = b->at;
    if (downsample) {
        b->at = input;
        conv_norm(b, block, "downsample.0", "downsample.1", out, 1, stride, SP_NONE, false);
        around = b->at;
        b->at = middle;
    }
    (void)snprintf(name, sizeof name, "%sbn2", block);
    sp_build_norm(b, name, around, true);
}

void sp_build_resnet18(struct sp_builder *b, uint32_t width)
{
    conv_norm(b, "", "conv1", "bn1", width, 3, 1, SP_NONE, true);
    for (uint32_t stage = 0; stage < 4; stage++) {
        for (uint32_t i = 0; i < 2; i++) {
            char block[BLOCK_BYTES];

            (void)snprintf(block, sizeof block, "layer%u.%u.", stage + 1, i);
            basic_block(b, block, width << stage, stage > 0 && i == 0 ? 2 : 1);
        }
    }
    sp_build_mean_pool(b);
    sp_build_dense(b, "fc", b->model->classes);
}
