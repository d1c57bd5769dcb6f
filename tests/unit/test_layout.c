/* Layouts: what may be in one, the digest by which two sides compare theirs, which tensor holds a coordinate, buffers,
 * traits, walks. */
#include "common/layout.h"
#include "unit.h"

#include <signal.h>
#include <stdio.h>

static struct sp_tensor tensor(const char *name, uint32_t flags, uint32_t dims, uint64_t a, uint64_t b, uint64_t c)
{
    struct sp_tensor made = {.dims = dims, .flags = flags, .shape = {a, b, c}};

    ck_assert_uint_lt(strlen(name), sizeof made.name);
    (void)strcpy(made.name, name);
    return made;
}

static void add(struct sp_layout *layout, const struct sp_tensor *what)
{
    struct sp_error error = {0};

    unit_assert(sp_layout_add(layout, what, &error) == SP_OK, "%s", error.text);
}

/* The refusal must have this code and these words, and change nothing. */
static void refuse(struct sp_layout *layout, const struct sp_tensor *what, int code, const char *words)
{
    struct sp_layout before = *layout;
    struct sp_error error = {0};

    ck_assert_int_eq(sp_layout_add(layout, what, &error), code);
    ck_assert_int_eq(error.code, code);
    ck_assert_msg(strstr(error.text, words) != NULL, "'%s' lacks '%s'", error.text, words);
    ck_assert_uint_eq(layout->tensors_count, before.tensors_count);
    ck_assert_uint_eq(layout->coordinates, before.coordinates);
    ck_assert_uint_eq(layout->trained, before.trained);
    ck_assert_uint_eq(layout->buffers, before.buffers);
}

START_TEST(test_add)
{
    struct sp_layout layout = {0};
    struct sp_tensor a = tensor("a.weight", SP_TENSOR_DECAY, 3, 2, 3, 4), b = tensor("b", 0, 1, 5, 0, 0);

    a.first = 77; /* not for the caller to say */
    a.count = 78;
    a.shape[3] = 79;
    add(&layout, &a);
    add(&layout, &b);
    ck_assert_uint_eq(layout.tensors_count, 2);
    ck_assert_uint_eq(layout.coordinates, 29);
    ck_assert_str_eq(layout.tensors[0].name, "a.weight");
    ck_assert_uint_eq(layout.tensors[0].flags, SP_TENSOR_DECAY);
    ck_assert_uint_eq(layout.tensors[0].first, 0);
    ck_assert_uint_eq(layout.tensors[0].count, 24);
    ck_assert_uint_eq(layout.tensors[0].shape[2], 4);
    ck_assert_uint_eq(layout.tensors[0].shape[3], 0);
    ck_assert_uint_eq(layout.tensors[1].flags, 0);
    ck_assert_uint_eq(layout.tensors[1].dims, 1);
    ck_assert_uint_eq(layout.tensors[1].first, 24);
    ck_assert_uint_eq(layout.tensors[1].count, 5);
    sp_layout_finish(&layout);
    ck_assert_uint_eq(layout.tensors_count, 0);
    ck_assert_uint_eq(layout.coordinates, 0);
    ck_assert_ptr_null(layout.tensors);
    sp_layout_finish(&layout);
}
END_TEST

START_TEST(test_dimensions)
{
    struct sp_layout layout = {0};
    struct sp_tensor t = tensor("t", 0, 1, 4, 1, 1);

    for (uint32_t i = 0; i < SP_TENSOR_DIMS_MAX; i++)
        t.shape[i] = 2;
    t.dims = 0;
    refuse(&layout, &t, SP_E_RANGE, "tensor 't' has 0 dimensions; 1 to 8 are allowed");
    t.dims = SP_TENSOR_DIMS_MAX + 1;
    refuse(&layout, &t, SP_E_RANGE, "tensor 't' has 9 dimensions; 1 to 8 are allowed");
    t.dims = UINT32_MAX;
    refuse(&layout, &t, SP_E_RANGE, "1 to 8 are allowed");
    t.dims = SP_TENSOR_DIMS_MAX;
    t.shape[7] = 0;
    refuse(&layout, &t, SP_E_RANGE, "tensor 't' is empty or too large in dimension 7");
    t.shape[7] = 2;
    add(&layout, &t);
    ck_assert_uint_eq(layout.coordinates, 256);
    sp_layout_finish(&layout);
}
END_TEST

/* Products at the limit, just above it, and where 64 bits wrap to something small. */
START_TEST(test_products)
{
    static const struct {
        uint64_t a, b, c;
        int at; /* the dimension that is refused, or -1 */
    } cases[] = {
        {UINT64_C(1) << 34, 1, 1, -1},
        {UINT64_C(1) << 17, UINT64_C(1) << 17, 1, -1},
        {UINT64_C(1) << 12, UINT64_C(1) << 11, UINT64_C(1) << 11, -1},
        {(UINT64_C(1) << 34) + 1, 1, 1, 0},
        {UINT64_C(1) << 17, (UINT64_C(1) << 17) + 1, 1, 1},
        {131073, 131072, 1, 1},
        {UINT64_C(1) << 32, UINT64_C(1) << 32, 1, 1},
        {UINT64_C(1) << 32, UINT64_C(1) << 32, 5, 1},
        {UINT64_C(1) << 22, UINT64_C(1) << 21, UINT64_C(1) << 21, 1},
        {3, UINT64_C(0x5555555555555556), 1, 1}, /* 2 modulo 2^64 */
        {1, 1, UINT64_MAX, 2},
        {UINT64_MAX, UINT64_MAX, 1, 0},
        {5, 0, 7, 1},
    };

    for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
        struct sp_tensor t = tensor("t", 0, 3, cases[i].a, cases[i].b, cases[i].c);
        struct sp_layout layout = {0};
        char words[64];

        (void)snprintf(words, sizeof words, "empty or too large in dimension %d", cases[i].at);
        if (cases[i].at < 0) {
            add(&layout, &t);
            ck_assert_uint_eq(layout.coordinates, SP_COORDINATES_MAX);
        } else {
            refuse(&layout, &t, SP_E_RANGE, words);
        }
        sp_layout_finish(&layout);
    }
}
END_TEST

START_TEST(test_sum)
{
    struct sp_layout layout = {0};
    struct sp_tensor t = tensor("a", 0, 1, SP_COORDINATES_MAX - 3, 1, 1);

    add(&layout, &t);
    t = tensor("b", 0, 1, 4, 1, 1);
    refuse(&layout, &t, SP_E_RANGE, "more than 17179869184 coordinates in all");
    t.shape[0] = SP_COORDINATES_MAX;
    refuse(&layout, &t, SP_E_RANGE, "more than 17179869184 coordinates in all");
    t.shape[0] = 3;
    add(&layout, &t);
    ck_assert_uint_eq(layout.coordinates, SP_COORDINATES_MAX);
    ck_assert_uint_eq(sp_layout_find(&layout, SP_COORDINATES_MAX - 1), 1);
    ck_assert_uint_eq(sp_layout_find(&layout, SP_COORDINATES_MAX - 4), 0);
    t = tensor("c", 0, 1, 1, 1, 1);
    refuse(&layout, &t, SP_E_RANGE, "coordinates in all");
    sp_layout_finish(&layout);
}
END_TEST

START_TEST(test_number_of_tensors)
{
    struct sp_layout layout = {0};
    char name[SP_TENSOR_NAME_BYTES];
    struct sp_tensor t;

    for (unsigned i = 0; i < SP_TENSORS_MAX; i++) {
        (void)snprintf(name, sizeof name, "t%u", i);
        t = tensor(name, 0, 1, 1, 1, 1);
        add(&layout, &t);
    }
    t = tensor("one.more", 0, 1, 1, 1, 1);
    refuse(&layout, &t, SP_E_RANGE, "more than 4096 tensors");
    ck_assert_uint_eq(layout.coordinates, SP_TENSORS_MAX);
    sp_layout_finish(&layout);
}
END_TEST

START_TEST(test_length_of_names)
{
    struct sp_layout layout = {0};
    struct sp_tensor t = tensor("", 0, 1, 1, 1, 1);

    refuse(&layout, &t, SP_E_RANGE, "tensor 0: its name must have 1 to 63 characters");
    memset(t.name, 'n', sizeof t.name);
    refuse(&layout, &t, SP_E_RANGE, "tensor 0: its name must have 1 to 63 characters");
    t.name[SP_TENSOR_NAME_BYTES - 1] = '\0';
    add(&layout, &t);
    ck_assert_uint_eq(strlen(layout.tensors[0].name), 63);
    sp_layout_finish(&layout);
}
END_TEST

/* A name goes into log lines, JSON and job files: printable ASCII without what needs quoting there. */
START_TEST(test_characters_of_names)
{
    for (int c = 1; c < 256; c++) {
        struct sp_layout layout = {0};
        struct sp_tensor t = tensor("abc", 0, 1, 1, 1, 1);

        t.name[1] = (char)c;
        if (c >= '!' && c <= '~' && c != '"' && c != '\\')
            add(&layout, &t);
        else
            refuse(&layout, &t, SP_E_SYNTAX, "tensor 0: character 2 of its name is not allowed");
        sp_layout_finish(&layout);
    }
}
END_TEST

START_TEST(test_names_are_unique)
{
    static const char *const names[] = {"a", "b", "aa", "A"};
    struct sp_layout layout = {0};
    struct sp_tensor t;

    for (size_t i = 0; i < UNIT_COUNT(names); i++) {
        t = tensor(names[i], 0, 1, 1, 1, 1);
        add(&layout, &t);
    }
    for (size_t i = 0; i < UNIT_COUNT(names); i++) {
        char words[64];

        (void)snprintf(words, sizeof words, "tensor '%s' appears twice", names[i]);
        t = tensor(names[i], SP_TENSOR_DECAY, 2, 3, 4, 1);
        refuse(&layout, &t, SP_E_RANGE, words);
    }
    sp_layout_finish(&layout);
}
END_TEST

static uint64_t digest_of(const struct sp_tensor *tensors, size_t count)
{
    struct sp_layout layout = {0};
    uint64_t digest;

    for (size_t i = 0; i < count; i++)
        add(&layout, &tensors[i]);
    digest = sp_layout_digest(&layout);
    sp_layout_finish(&layout);
    return digest;
}

/* The numbers are those of an XXH64 written in Python from its specification (it gives 0x44bc2cf5ad770999 for "abc"),
 * over b''.join(name + b'\0' + struct.pack('<II', len(shape), flags) + struct.pack(f'<{len(shape)}Q', *shape)). */
START_TEST(test_digest_is_pinned)
{
    const struct sp_tensor head = tensor("head", SP_TENSOR_DECAY, 2, 10, 1 << 20, 1);
    struct sp_tensor tensors[3] = {tensor("conv1.weight", SP_TENSOR_DECAY, 3, 8, 1, 3),
                                   tensor("conv1.bias", 0, 1, 8, 1, 1), head};

    tensors[0].dims = 4;
    tensors[0].shape[3] = 3;
    ck_assert_uint_eq(digest_of(tensors, 3), UINT64_C(0xe279f6d913193fab));
    ck_assert_uint_eq(digest_of(NULL, 0), UINT64_C(0xef46db3751d8e999));
}
END_TEST

/* Whatever two layouts differ in, their digests differ. */
START_TEST(test_digest_sees_every_field)
{
    const struct sp_tensor a = tensor("a", SP_TENSOR_DECAY, 3, 2, 3, 5), b = tensor("b", 0, 2, 7, 11, 1);
    struct sp_tensor variants[16][2];
    uint64_t digests[16];
    size_t n = 0;

    for (size_t i = 0; i < 16; i++) {
        variants[i][0] = a;
        variants[i][1] = b;
    }
    n++;
    (void)strcpy(variants[n++][0].name, "c");
    (void)strcpy(variants[n++][1].name, "c");
    (void)strcpy(variants[n++][1].name, "bb");
    variants[n++][0].flags = 0;
    variants[n++][1].flags = SP_TENSOR_DECAY;
    variants[n++][1].flags = 1u << 31;
    variants[n++][0].shape[0] = 4;
    variants[n++][0].shape[1] = 4;
    variants[n++][0].shape[2] = 4;
    variants[n++][1].shape[1] = 11 + (UINT64_C(1) << 30);
    variants[n++][1].dims = 3; /* shape 7, 11, 1: as many coordinates as before */
    variants[n][1].dims = 1;
    variants[n++][1].shape[0] = 77;
    variants[n][1].shape[0] = 11;
    variants[n++][1].shape[1] = 7;
    variants[n][0] = b;
    variants[n++][1] = a;
    ck_assert_uint_le(n, 16);
    for (size_t i = 0; i < n; i++) {
        digests[i] = digest_of(variants[i], 2);
        for (size_t k = 0; k < i; k++)
            ck_assert_msg(digests[i] != digests[k], "variants %zu and %zu have one digest", i, k);
    }
    ck_assert_uint_ne(digests[0], digest_of(variants[0], 1));
}
END_TEST

START_TEST(test_find)
{
    struct sp_rng rng = unit_rng(1);

    for (uint32_t tensors = 1; tensors <= 33; tensors++) {
        struct sp_layout layout = {0};

        for (uint32_t i = 0; i < tensors; i++) {
            char name[SP_TENSOR_NAME_BYTES];
            struct sp_tensor t;

            (void)snprintf(name, sizeof name, "t%u", i);
            t = tensor(name, 0, 1, 1 + sp_rng_below(&rng, 9), 1, 1);
            add(&layout, &t);
        }
        for (uint32_t i = 0; i < tensors; i++) {
            for (uint64_t k = 0; k < layout.tensors[i].count; k++)
                unit_assert(sp_layout_find(&layout, layout.tensors[i].first + k) == i, "%llu in %u",
                            (unsigned long long)k, i);
        }
        sp_layout_finish(&layout);
    }
}
END_TEST

START_TEST(test_find_outside_aborts)
{
    struct sp_layout layout = {0};
    struct sp_tensor t = tensor("t", 0, 1, 5, 1, 1);

    add(&layout, &t);
    ck_assert_uint_eq(sp_layout_find(&layout, 4), 0);
    (void)sp_layout_find(&layout, 5);
}
END_TEST

START_TEST(test_copy)
{
    struct sp_layout layout = {0}, copy = {0};
    struct sp_tensor a = tensor("a", 1, 2, 3, 4, 1), b = tensor("b", 0, 1, 5, 1, 1);

    add(&layout, &a);
    ck_assert_int_eq(sp_layout_copy(&copy, &layout), SP_OK);
    add(&layout, &b);
    ck_assert_uint_eq(copy.tensors_count, 1);
    ck_assert_uint_eq(copy.coordinates, 12);
    ck_assert_ptr_ne(copy.tensors, layout.tensors);
    sp_layout_finish(&layout);
    ck_assert_str_eq(copy.tensors[0].name, "a");
    ck_assert_uint_eq(sp_layout_digest(&copy), digest_of(&a, 1));
    add(&copy, &b);
    ck_assert_uint_eq(copy.coordinates, 17);
    sp_layout_finish(&copy);
}
END_TEST

START_TEST(test_copy_of_nothing)
{
    struct sp_layout layout = {0}, copy = {.coordinates = 1};

    ck_assert_int_eq(sp_layout_copy(&copy, &layout), SP_OK);
    ck_assert_uint_eq(copy.tensors_count, 0);
    ck_assert_uint_eq(copy.coordinates, 0);
    sp_layout_finish(&copy);
}
END_TEST

/* Buffers. */

/* Buffers come last and are counted apart: coordinates are those of trained tensors only. */
START_TEST(test_buffers)
{
    struct sp_layout layout = {0}, copy = {0};
    struct sp_tensor w = tensor("w", SP_TENSOR_DECAY, 2, 3, 4, 1), v = tensor("v", 0, 1, 5, 1, 1);
    struct sp_tensor mean = tensor("mean", SP_TENSOR_BUFFER, 1, 7, 1, 1),
                     deviation = tensor("deviation", SP_TENSOR_BUFFER, 2, 2, 3, 1);

    add(&layout, &w);
    add(&layout, &mean);
    refuse(&layout, &v, SP_E_RANGE, "tensor 'v' comes after a buffer; buffers must be the last tensors");
    add(&layout, &deviation);
    refuse(&layout, &v, SP_E_RANGE, "tensor 'v' comes after a buffer; buffers must be the last tensors");
    ck_assert_uint_eq(layout.tensors_count, 3);
    ck_assert_uint_eq(layout.trained, 1);
    ck_assert_uint_eq(layout.coordinates, 12);
    ck_assert_uint_eq(layout.buffers, 13);
    ck_assert_uint_eq(layout.tensors[1].first, 0);
    ck_assert_uint_eq(layout.tensors[1].count, 7);
    ck_assert_uint_eq(layout.tensors[2].first, 7);
    ck_assert_uint_eq(layout.tensors[2].count, 6);
    ck_assert(sp_tensor_is(&layout.tensors[2], SP_TENSOR_BUFFER));
    ck_assert_uint_eq(sp_layout_find(&layout, 11), 0);
    ck_assert_int_eq(sp_layout_copy(&copy, &layout), SP_OK);
    ck_assert_uint_eq(copy.trained, 1);
    ck_assert_uint_eq(copy.buffers, 13);
    ck_assert_uint_eq(copy.tensors[2].first, 7);
    sp_layout_finish(&copy);
    sp_layout_finish(&layout);
    ck_assert_uint_eq(layout.buffers, 0);
}
END_TEST

/* Values of buffers and coordinates are limited together. */
START_TEST(test_sum_with_buffers)
{
    struct sp_layout layout = {0};
    struct sp_tensor t = tensor("a", 0, 1, SP_COORDINATES_MAX - 3, 1, 1);

    add(&layout, &t);
    t = tensor("b", SP_TENSOR_BUFFER, 1, 4, 1, 1);
    refuse(&layout, &t, SP_E_RANGE, "more than 17179869184 coordinates in all");
    t.shape[0] = 2;
    add(&layout, &t);
    (void)strcpy(t.name, "c");
    refuse(&layout, &t, SP_E_RANGE, "more than 17179869184 coordinates in all");
    t.shape[0] = 1;
    add(&layout, &t);
    ck_assert_uint_eq(layout.buffers, 3);
    sp_layout_finish(&layout);
}
END_TEST

START_TEST(test_a_layout_of_buffers_only)
{
    struct sp_layout layout = {0};
    struct sp_layout_part part = {0};
    struct sp_tensor t = tensor("mean", SP_TENSOR_BUFFER, 1, 4, 1, 1);

    add(&layout, &t);
    ck_assert_uint_eq(layout.trained, 0);
    ck_assert_uint_eq(layout.coordinates, 0);
    sp_layout_set_traits(&layout, NULL);
    ck_assert(!sp_layout_next(&layout, 0, 0, &part));
    sp_layout_finish(&layout);
}
END_TEST

/* Traits. */

/* Before the job's rules are known, a tensor's traits are what it declares. */
START_TEST(test_traits_declared)
{
    struct sp_layout layout = {0};
    struct sp_tensor a = tensor("a", SP_TENSOR_DECAY, 1, 3, 1, 1), b = tensor("b", 0, 1, 3, 1, 1);

    add(&layout, &a);
    add(&layout, &b);
    ck_assert(sp_tensor_is(&layout.tensors[0], SP_TENSOR_DECAY));
    ck_assert(!sp_tensor_is(&layout.tensors[0], SP_TENSOR_FULL));
    ck_assert_uint_eq(layout.tensors[1].traits, 0);
    ck_assert_uint_eq(layout.full, 0);
    sp_layout_finish(&layout);
}
END_TEST

/* Tensors in full have their values one after the other, whatever lies between them; what was declared, and with it
 * the digest, stays. Traits can be set anew. */
START_TEST(test_traits_set)
{
    static const uint8_t first[] = {SP_TENSOR_FULL, SP_TENSOR_DECAY, SP_TENSOR_FULL | SP_TENSOR_DECAY, 0xff};
    static const uint8_t second[] = {SP_TENSOR_DECAY, SP_TENSOR_FULL, 0, 0};
    struct sp_layout layout = {0};
    struct sp_tensor t;
    uint64_t digest;

    for (unsigned i = 0; i < 4; i++) {
        const char name[] = {(char)('a' + i), '\0'};

        t = tensor(name, i == 0 ? SP_TENSOR_DECAY : 0, 1, 10 + i, 1, 1);
        add(&layout, &t);
    }
    t = tensor("mean", SP_TENSOR_BUFFER, 1, 100, 1, 1);
    add(&layout, &t);
    digest = sp_layout_digest(&layout);
    sp_layout_set_traits(&layout, first);
    ck_assert_uint_eq(layout.full, 10 + 12 + 13);
    ck_assert_uint_eq(layout.tensors[0].full_first, 0);
    ck_assert_uint_eq(layout.tensors[2].full_first, 10);
    ck_assert_uint_eq(layout.tensors[3].full_first, 22);
    ck_assert_uint_eq(layout.tensors[0].traits, SP_TENSOR_FULL);
    ck_assert_uint_eq(layout.tensors[1].traits, SP_TENSOR_DECAY);
    ck_assert_uint_eq(layout.tensors[3].traits, SP_TENSOR_DECAY | SP_TENSOR_FULL); /* nothing else can be */
    ck_assert_uint_eq(layout.tensors[4].traits, SP_TENSOR_BUFFER);
    ck_assert_uint_eq(layout.tensors[0].flags, SP_TENSOR_DECAY);
    ck_assert_uint_eq(sp_layout_digest(&layout), digest);
    sp_layout_set_traits(&layout, second);
    ck_assert_uint_eq(layout.full, 11);
    ck_assert_uint_eq(layout.tensors[1].full_first, 0);
    ck_assert(!sp_tensor_is(&layout.tensors[0], SP_TENSOR_FULL));
    ck_assert(sp_tensor_is(&layout.tensors[0], SP_TENSOR_DECAY));
    sp_layout_set_traits(&layout, NULL);
    ck_assert_uint_eq(layout.full, 0);
    ck_assert_uint_eq(layout.tensors[0].traits, SP_TENSOR_DECAY);
    ck_assert_uint_eq(layout.tensors[1].traits, 0);
    sp_layout_finish(&layout);
}
END_TEST

/* Walks. */

static void walk(const struct sp_layout *layout, uint64_t first, uint64_t count)
{
    struct sp_layout_part part = {0};
    uint64_t at = first;

    while (sp_layout_next(layout, first, count, &part)) {
        const struct sp_tensor *tensor = part.tensor;

        unit_assert(tensor == &layout->tensors[part.index] && part.index == sp_layout_find(layout, at), "the tensor");
        unit_assert(part.first == at && part.count > 0 && part.first >= tensor->first &&
                        part.first + part.count <= tensor->first + tensor->count,
                    "the part lies in its tensor");
        at += part.count;
        unit_assert(at == first + count || at == tensor->first + tensor->count, "as much of it as there is");
    }
    unit_assert(at == first + count, "all of the range, and no more");
    unit_assert(!sp_layout_next(layout, first, count, &part), "the end stays the end");
}

/* Every range of small layouts: parts follow each other without a gap, each in one tensor. */
START_TEST(test_next)
{
    static const uint64_t sizes[] = {3, 1, 4, 1, 5};
    struct sp_layout layout = {0};

    for (unsigned i = 0; i <= UNIT_COUNT(sizes); i++) {
        char name[SP_TENSOR_NAME_BYTES];
        bool buffer = i == UNIT_COUNT(sizes);
        struct sp_tensor t;

        (void)snprintf(name, sizeof name, "t%u", i);
        t = tensor(name, buffer ? SP_TENSOR_BUFFER : 0, 1, buffer ? 9 : sizes[i], 1, 1);
        add(&layout, &t);
        for (uint64_t first = 0; first < layout.coordinates; first++)
            for (uint64_t count = 0; count <= layout.coordinates - first; count++)
                walk(&layout, first, count);
    }
    sp_layout_finish(&layout);
}
END_TEST

START_TEST(test_next_of_large_tensors)
{
    struct sp_layout layout = {0};
    struct sp_layout_part part = {0};
    struct sp_tensor a = tensor("a", 0, 1, SP_COORDINATES_MAX - 5, 1, 1), b = tensor("b", 0, 1, 5, 1, 1);

    add(&layout, &a);
    add(&layout, &b);
    ck_assert(sp_layout_next(&layout, 7, SP_COORDINATES_MAX - 8, &part));
    ck_assert_uint_eq(part.index, 0);
    ck_assert_uint_eq(part.first, 7);
    ck_assert_uint_eq(part.count, SP_COORDINATES_MAX - 12);
    ck_assert(sp_layout_next(&layout, 7, SP_COORDINATES_MAX - 8, &part));
    ck_assert_ptr_eq(part.tensor, &layout.tensors[1]);
    ck_assert_uint_eq(part.first, SP_COORDINATES_MAX - 5);
    ck_assert_uint_eq(part.count, 4);
    ck_assert(!sp_layout_next(&layout, 7, SP_COORDINATES_MAX - 8, &part));
    sp_layout_finish(&layout);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("layout");

    tcase_add_test(tests, test_add);
    tcase_add_test(tests, test_dimensions);
    tcase_add_test(tests, test_products);
    tcase_add_test(tests, test_sum);
    tcase_add_test(tests, test_number_of_tensors);
    tcase_add_test(tests, test_length_of_names);
    tcase_add_test(tests, test_characters_of_names);
    tcase_add_test(tests, test_names_are_unique);
    tcase_add_test(tests, test_digest_is_pinned);
    tcase_add_test(tests, test_digest_sees_every_field);
    tcase_add_test(tests, test_find);
    tcase_add_test_raise_signal(tests, test_find_outside_aborts, SIGABRT);
    tcase_add_test(tests, test_copy);
    tcase_add_test(tests, test_copy_of_nothing);
    tcase_add_test(tests, test_buffers);
    tcase_add_test(tests, test_sum_with_buffers);
    tcase_add_test(tests, test_a_layout_of_buffers_only);
    tcase_add_test(tests, test_traits_declared);
    tcase_add_test(tests, test_traits_set);
    tcase_add_test(tests, test_next);
    tcase_add_test(tests, test_next_of_large_tensors);
    return unit_run(suite_create("layout"), tests);
}
