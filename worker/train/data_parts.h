/* What the readers of data know of each other; not for anybody else. */
#pragma once

#include "worker/train/data.h"

/* Begins examples that are read from these files; `labels` may be NULL. */
void sp_examples_begin(struct sp_examples *examples, const char *files, const char *labels);

/* Adds a part behind the others, which sets its `first`, and adds up `count`. What the part owns belongs to the
 * examples from now on, also if this fails: SP_E_NOMEM. */
int sp_examples_add_part(struct sp_examples *examples, const struct sp_part *part, struct sp_error *error);

/* Frees what it owns. */
void sp_part_finish(struct sp_part *part);

/* Sets `classes` to the highest label + 1. */
void sp_examples_count_classes(struct sp_examples *examples);

/* Files of CIFAR-10 or CIFAR-100, one after another. */
int sp_cifar_load(enum sp_data_format format, const char *const *paths, size_t count, struct sp_examples *out,
                  struct sp_error *error);

struct sp_csv_options {
    bool header;
    char separator;
    const char *label;     /* name of a column, or its number from 1 */
    const uint32_t *shape; /* [shape_count]: 0, 2 or 3 */
    uint32_t shape_count;
};

/* Files of rows, one after another. */
int sp_csv_load(const struct sp_csv_options *options, const char *const *paths, size_t count, struct sp_examples *out,
                struct sp_error *error);
