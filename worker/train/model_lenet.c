/* LeNet with max-pooling and ReLU, after Y. LeCun et al., 'Gradient-based learning applied to document recognition',
 * 1998. The sizes are those that most frameworks' examples have; the original's 6, 16, 120, 84 learn MNIST less well.
 */
#include "worker/train/model_parts.h"

enum { WINDOW = 5, POOL = 2, CHANNELS1 = 20, CHANNELS2 = 50, UNITS = 500 };

void sp_build_lenet(struct sp_builder *b)
{
    sp_build_conv(b, "conv1", CHANNELS1, WINDOW, 1, 0, true);
    sp_build_relu(b);
    sp_build_max_pool(b, POOL);
    sp_build_conv(b, "conv2", CHANNELS2, WINDOW, 1, 0, true);
    sp_build_relu(b);
    sp_build_max_pool(b, POOL);
    sp_build_flatten(b);
    sp_build_dense(b, "dense1", UNITS);
    sp_build_relu(b);
    sp_build_dense(b, "dense2", b->model->classes);
}
