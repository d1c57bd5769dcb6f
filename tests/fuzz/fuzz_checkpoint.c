/* libFuzzer target: any bytes as a checkpoint. They are refused in words, or all that is in them lies within them. */
#include "common/check.h"
#include "server/checkpoint.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look_at_sections(const struct sp_checkpoint *checkpoint, size_t size)
{
    unsigned sum = 0;
    size_t all = 0;

    sp_assert(checkpoint->sections <= SP_SECTIONS_MAX);
    for (uint32_t i = 0; i < checkpoint->sections; i++) {
        const struct sp_checkpoint_section *section = &checkpoint->section[i];

        sp_assert(memchr(section->name, '\0', SP_SECTION_NAME_BYTES) != NULL);
        sp_assert(sp_checkpoint_find(checkpoint, section->name) != NULL);
        all += section->count;
        for (uint64_t k = 0; k < section->count; k++)
            sum += ((const uint8_t *)section->bytes)[k]; /* the sanitizer sees a step too far */
    }
    sp_assert(all <= size && sum <= 255 * all);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sp_checkpoint checkpoint;
    struct sp_error error = {0};
    char path[64];
    int fd = memfd_create("fuzz", MFD_CLOEXEC);

    sp_assert(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (sp_checkpoint_read(path, &checkpoint, &error) == SP_OK)
        look_at_sections(&checkpoint, size);
    else
        sp_assert(checkpoint.memory == NULL && error.text[0] != '\0');
    sp_checkpoint_finish(&checkpoint);
    (void)close(fd);
    return 0;
}
