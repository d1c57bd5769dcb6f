/* Linear layers with ReLU between them; softmax regression is the one without a hidden layer. */
#include "worker/train/model_parts.h"

#include <stdio.h>

void sp_build_mlp(struct sp_builder *b, const uint32_t *hidden, uint32_t hidden_count)
{
    char name[16];

    for (uint32_t i = 0; i < hidden_count; i++) {
        (void)snprintf(name, sizeof name, "dense%u", i + 1);
        sp_build_dense(b, name, hidden[i]);
        sp_build_relu(b);
    }
    (void)snprintf(name, sizeof name, "dense%u", hidden_count + 1);
    sp_build_dense(b, name, b->model->classes);
}
