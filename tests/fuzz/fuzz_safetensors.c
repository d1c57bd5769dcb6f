/* libFuzzer target: any bytes as a file of weights. It is refused in words, or what a layout finds in it is finite. */
#include "common/check.h"
#include "common/safetensors.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_tensors(const struct sp_safetensors *file)
{
    const struct sp_tensor w = {.name = "w", .dims = 1, .shape = {4}};
    const struct sp_tensor running = {.name = "running", .dims = 1, .flags = SP_TENSOR_BUFFER, .shape = {1}};
    struct sp_layout layout = {0};
    struct sp_error error = {0};
    float theta[4], buffers[1];
    const char *name;

    sp_assert(sp_layout_add(&layout, &w, NULL) == SP_OK && sp_layout_add(&layout, &running, NULL) == SP_OK);
    if (sp_safetensors_read(file, &layout, theta, buffers, &error) == SP_OK) {
        for (size_t i = 0; i < 4; i++)
            sp_assert(isfinite(theta[i]));
        sp_assert(isfinite(buffers[0]));
    } else {
        sp_assert(error.text[0] != '\0');
    }
    sp_assert((sp_safetensors_left_over(file, &layout, &name) == 0) == (name == NULL));
    sp_layout_finish(&layout);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sp_safetensors *file;
    struct sp_error error = {0};
    char path[64];
    int fd = memfd_create("fuzz", MFD_CLOEXEC);

    sp_assert(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (sp_safetensors_open(&file, path, &error) == SP_OK) {
        read_tensors(file);
        sp_safetensors_close(file);
    } else {
        sp_assert(file == NULL && error.text[0] != '\0');
    }
    (void)close(fd);
    return 0;
}
