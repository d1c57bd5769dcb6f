/* The rules of `tensors`: what text they take and give, and what they make of a layout. */
#include "common/rules.h"

#include "common/layout.h"
#include "unit.h"

#include <locale.h>
#include <stdio.h>

static struct sp_job job;

static void setup(void)
{
    sp_job_init(&job);
}

static void set(const char *value)
{
    struct sp_error error = {0};

    unit_assert(sp_job_set(&job, "tensors", value, &error) == SP_OK, "%s: %s", value, error.text);
}

static const char *get(void)
{
    static char text[SP_VALUE_BYTES];

    sp_job_get(&job, sp_job_key("tensors"), text, sizeof text);
    return text;
}

/* Texts that are taken, and how they come back. */
START_TEST(test_text_and_back)
{
    static const char *const texts[][2] = {
        {"[]", "[]"},
        {"[ ]", "[]"},
        {"[{match: \"bn*\", update: full}]", "[{match: \"bn*\", update: full}]"},
        {"[{match: bn*, update: full}, {match: *.bias, decay: true}]",
         "[{match: \"bn*\", update: full}, {match: \"*.bias\", decay: true}]"},
        {"[{update:vote,decay:false,match:'a b'}]", NULL},
        {"[{update:vote,decay:false,match:'a\"b'}]", NULL},
        {"[ { decay : false , update : vote , match : '[a,b]:{}' } ]",
         "[{match: \"[a,b]:{}\", update: vote, decay: false}]"},
        {"[{\"match\": \"it's\", 'update': \"full\"}]", "[{match: \"it's\", update: full}]"},
        {"[{match: !#$%&()*+-./;<=>?@^_`|~, decay: true}]", "[{match: \"!#$%&()*+-./;<=>?@^_`|~\", decay: true}]"},
    };

    for (size_t i = 0; i < UNIT_COUNT(texts); i++) {
        char once[SP_VALUE_BYTES];

        if (texts[i][1] == NULL) {
            ck_assert_int_eq(sp_job_set(&job, "tensors", texts[i][0], NULL), SP_E_SYNTAX);
            continue;
        }
        set(texts[i][0]);
        ck_assert_str_eq(get(), texts[i][1]);
        (void)snprintf(once, sizeof once, "%s", get());
        set(once);
        ck_assert_str_eq(get(), once);
    }
}
END_TEST

/* The largest list of the longest rules fits into a value, and a list forgets the one before it. */
START_TEST(test_limits)
{
    char text[2 * SP_VALUE_BYTES] = "[", pattern[SP_PATTERN_BYTES];
    struct sp_job fresh = job;
    size_t used = 1;

    memset(pattern, 'x', sizeof pattern - 1);
    pattern[sizeof pattern - 1] = '\0';
    for (unsigned i = 0; i < SP_RULES_MAX; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s{match: \"%s\", update: vote, decay: false}",
                                 i == 0 ? "" : ", ", pattern);
    (void)snprintf(text + used, sizeof text - used, "]");
    set(text);
    ck_assert_uint_eq(job.tensors.count, SP_RULES_MAX);
    ck_assert_str_eq(get(), text);
    (void)snprintf(text + used, sizeof text - used, ",{match: a, decay: true}]");
    ck_assert_int_eq(sp_job_set(&job, "tensors", text, NULL), SP_E_RANGE);
    ck_assert_uint_eq(job.tensors.count, SP_RULES_MAX);
    set("[]");
    ck_assert_int_eq(memcmp(&job, &fresh, sizeof job), 0);
}
END_TEST

static const struct {
    const char *text;
    int code;
    const char *words;
} refused[] = {
    {"", SP_E_SYNTAX, "tensors: must be a list of at most 32 rules, such as [{match: \"bn*\", update: full}], not ''"},
    {"{match: a, decay: true}", SP_E_SYNTAX,
     "tensors: must be a list of at most 32 rules, such as [{match: \"bn*\", update: full}], not '{match: a, decay: "
     "true}'"},
    {" []", SP_E_SYNTAX,
     "tensors: must be a list of at most 32 rules, such as [{match: \"bn*\", update: full}], not ' []'"},
    {"[", SP_E_SYNTAX, "tensors: rule 1: expected a rule such as {match: \"bn*\", update: full}, but the text ends"},
    {"[x]", SP_E_SYNTAX, "tensors: rule 1: expected a rule such as {match: \"bn*\", update: full} before 'x]'"},
    {"[] ", SP_E_SYNTAX, "tensors: expected the end before ' '"},
    {"[]]", SP_E_SYNTAX, "tensors: expected the end before ']'"},
    {"[,]", SP_E_SYNTAX, "tensors: rule 1: expected a rule such as {match: \"bn*\", update: full} before ',]'"},
    {"[{match: a, decay: true},]", SP_E_SYNTAX,
     "tensors: rule 2: expected a rule such as {match: \"bn*\", update: full} before ']'"},
    {"[{match: a, decay: true} {match: b, decay: true}]", SP_E_SYNTAX,
     "tensors: expected ',' or ']' before '{match: b, decay: true}]'"},
    {"[{match: a, decay: true}", SP_E_SYNTAX, "tensors: expected ',' or ']', but the text ends"},
    {"[{match: a, decay: true]", SP_E_SYNTAX, "tensors: rule 1: expected ',' or '}' before ']'"},
    {"[{}]", SP_E_SYNTAX, "tensors: rule 1: expected match:, update: or decay: before '}]'"},
    {"[{match: a, }]", SP_E_SYNTAX, "tensors: rule 1: expected match:, update: or decay: before '}]'"},
    {"[{match}]", SP_E_SYNTAX, "tensors: rule 1: expected ':' before '}]'"},
    {"[{match: , decay: true}]", SP_E_SYNTAX, "tensors: rule 1: expected a value before ', decay: true}]'"},
    {"[{match: \"a, decay: true}]", SP_E_SYNTAX, "tensors: rule 1: expected a value before '\"a, decay: true}]'"},
    {"[{match: a:b, decay: true}]", SP_E_SYNTAX, "tensors: rule 1: expected ',' or '}' before ':b, decay: true}]'"},
    {"[{match: a[0], decay: true}]", SP_E_SYNTAX, "tensors: rule 1: expected ',' or '}' before '[0], decay: true}]'"},
    {"[{match: a, decay: true}, {update: full}]", SP_E_MISSING,
     "tensors: rule 2: 'match' is missing: the pattern of the tensors' names"},
    {"[{match: a}]", SP_E_MISSING, "tensors: rule 1: changes nothing; give it update or decay, or leave it out"},
    {"[{match: \"\", decay: true}]", SP_E_RANGE,
     "tensors: rule 1: match: must be a pattern of 1 to 63 ASCII characters without space, '\"' and '\\', not ''"},
    {"[{match: 'a b', decay: true}]", SP_E_SYNTAX,
     "tensors: rule 1: match: must be a pattern of 1 to 63 ASCII characters without space, '\"' and '\\', not 'a b'"},
    {"[{match: a\\*, decay: true}]", SP_E_SYNTAX, NULL},
    {"[{match: '\"', decay: true}]", SP_E_SYNTAX, NULL},
    {"[{match: a\tb, decay: true}]", SP_E_SYNTAX, NULL},
    {"[{match: \xC3\xBC, decay: true}]", SP_E_SYNTAX, NULL},
    {"[{match: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx, decay: true}]", SP_E_RANGE, NULL},
    {"[{match: a, update: none}]", SP_E_RANGE, "tensors: rule 1: update: must be vote or full, not 'none'"},
    {"[{match: a, decay: yes}]", SP_E_RANGE, "tensors: rule 1: decay: must be true or false, not 'yes'"},
    {"[{match: a, decay: true, decay: true}]", SP_E_MISMATCH, "tensors: rule 1: repeated member 'decay'"},
    {"[{match: a, match: b, decay: true}]", SP_E_MISMATCH, "tensors: rule 1: repeated member 'match'"},
    {"[{match: a, lr: 0.1}]", SP_E_UNKNOWN,
     "tensors: rule 1: unknown member 'lr'; a rule has match, and update or decay or both"},
};

START_TEST(test_refused_texts)
{
    struct sp_job before;
    struct sp_error error = {0};

    set("[{match: before, update: full}]");
    before = job;
    ck_assert_int_eq(sp_job_set(&job, "tensors", refused[_i].text, &error), refused[_i].code);
    ck_assert_int_eq(error.code, refused[_i].code);
    if (refused[_i].words != NULL)
        ck_assert_str_eq(error.text, refused[_i].words);
    ck_assert_int_eq(sp_job_set(&job, "tensors", refused[_i].text, NULL), refused[_i].code);
    ck_assert_int_eq(memcmp(&before, &job, sizeof job), 0);
}
END_TEST

/* No cut of a text, and no byte in it changed, is more than refused or taken. */
START_TEST(test_any_text)
{
    static const char whole[] = "[{match: \"bn*\", update: full}, {match: *.bias, decay: true}]";
    static const char others[] = "\t :-[]{}'\"*,x\\\x80\xFF";

    for (size_t i = 0; i < sizeof whole; i++) {
        char text[sizeof whole];

        memcpy(text, whole, i);
        text[i] = '\0';
        ck_assert_int_eq(sp_job_set(&job, "tensors", text, NULL) == SP_OK, i == sizeof whole - 1);
        for (size_t k = 0; i < sizeof whole - 1 && k < sizeof others - 1; k++) {
            memcpy(text, whole, sizeof whole);
            text[i] = others[k];
            if (sp_job_set(&job, "tensors", text, NULL) == SP_OK)
                set(get());
        }
    }
}
END_TEST

/* On a layout. */

static void add(struct sp_layout *layout, const char *name, uint32_t flags)
{
    struct sp_tensor tensor = {.dims = 1, .flags = flags, .shape = {2}};
    struct sp_error error = {0};

    (void)snprintf(tensor.name, sizeof tensor.name, "%s", name);
    unit_assert(sp_layout_add(layout, &tensor, &error) == SP_OK, "%s", error.text);
}

static struct sp_layout make_layout(void)
{
    struct sp_layout layout = {0};

    add(&layout, "conv/1.weight", SP_TENSOR_DECAY);
    add(&layout, "conv/1.bias", 0);
    add(&layout, "bn1.scale", 0);
    add(&layout, "head.weight", SP_TENSOR_DECAY);
    add(&layout, "bn1.mean", SP_TENSOR_BUFFER);
    return layout;
}

enum { N = 0, D = SP_TENSOR_DECAY, F = SP_TENSOR_FULL, DF = SP_TENSOR_DECAY | SP_TENSOR_FULL };

static const struct {
    const char *rules;
    uint8_t traits[4];
} expected[] = {
    {"[]", {D, N, N, D}},
    {"[{match: bn*, update: full}]", {D, N, F, D}},
    {"[{match: '*.bias', decay: true}]", {D, D, N, D}},
    {"[{match: '*', decay: false}]", {N, N, N, N}},
    {"[{match: '*', decay: true, update: full}]", {DF, DF, DF, DF}},
    {"[{match: '*', update: vote}]", {D, N, N, D}},
    /* a later rule prevails, in what it says and in nothing else */
    {"[{match: '*', update: full}, {match: '*.weight', update: vote}]", {D, F, F, D}},
    {"[{match: '*.weight', update: vote}, {match: '*', update: full}]", {DF, F, F, DF}},
    {"[{match: '*', update: full}, {match: head*, decay: false}, {match: head*, decay: true}]", {DF, F, F, DF}},
    {"[{match: '*', update: full, decay: true}, {match: '*', decay: false}]", {F, F, F, F}},
    /* patterns are those of a shell, over the whole name; '/' and '.' are letters like others */
    {"[{match: weight, update: full}]", {D, N, N, D}},
    {"[{match: '?n1.*', update: full}]", {D, N, F, D}},
    {"[{match: '[a-c]*[!t]', update: full}]", {D, F, F, D}},
    {"[{match: 'conv*weight', update: full}]", {DF, N, N, D}},
    {"[{match: BN*, update: full}]", {D, N, N, D}},
    {"[{match: 'bn1.[', update: full}]", {D, N, N, D}},
};

START_TEST(test_traits)
{
    struct sp_layout layout = make_layout();
    uint8_t traits[5] = {[4] = 77};

    set(expected[_i].rules);
    ck_assert_uint_eq(sp_job_traits(&job, &layout, traits), 4);
    for (unsigned i = 0; i < 4; i++)
        unit_assert(traits[i] == expected[_i].traits[i], "%s: %s: %u", expected[_i].rules, layout.tensors[i].name,
                    traits[i]);
    ck_assert_uint_eq(traits[4], 77);
    sp_layout_set_traits(&layout, traits);
    for (unsigned i = 0; i < 4; i++)
        ck_assert_uint_eq(layout.tensors[i].traits, expected[_i].traits[i]);
    ck_assert(sp_tensor_is(&layout.tensors[4], SP_TENSOR_BUFFER));
    sp_layout_finish(&layout);
}
END_TEST

/* What a range such as a-z holds is up to the locale, so the C locale decides, whatever the program has set. */
START_TEST(test_patterns_do_not_depend_on_the_locale)
{
    static const char *const names[] = {"de_DE.UTF-8", "en_US.UTF-8", "C.UTF-8"};
    struct sp_layout layout = {0};
    uint8_t traits[1];

    for (size_t i = 0; i < UNIT_COUNT(names); i++)
        if (setlocale(LC_ALL, names[i]) != NULL)
            break;
    add(&layout, "Bias", 0);
    set("[{match: '[a-z]ias', update: full}]");
    ck_assert_uint_eq(sp_job_traits(&job, &layout, traits), 1);
    ck_assert_uint_eq(traits[0], 0);
    ck_assert_ptr_eq(sp_job_idle_rule(&job, &layout, 0), &job.tensors.rule[0]);
    ck_assert(setlocale(LC_ALL, "C") != NULL);
    sp_layout_finish(&layout);
}
END_TEST

/* A rule that only a buffer's name matches does nothing either. */
START_TEST(test_idle_rules)
{
    struct sp_layout layout = make_layout(), empty = {0};

    ck_assert_ptr_null(sp_job_idle_rule(&job, &layout, 0));
    set("[{match: nothing, update: full}, {match: bn*, update: full}, {match: '*.mean', update: full}, {match: "
        "'*.bias', decay: true}]");
    ck_assert_ptr_eq(sp_job_idle_rule(&job, &layout, 0), &job.tensors.rule[0]);
    ck_assert_ptr_eq(sp_job_idle_rule(&job, &layout, 1), &job.tensors.rule[2]);
    ck_assert_ptr_null(sp_job_idle_rule(&job, &layout, 2));
    ck_assert_ptr_eq(sp_job_idle_rule(&job, &empty, 3), &job.tensors.rule[3]);
    ck_assert_ptr_null(sp_job_idle_rule(&job, &empty, 4));
    ck_assert_uint_eq(sp_job_traits(&job, &empty, NULL), 0);
    sp_layout_finish(&layout);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("rules");

    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_add_test(tests, test_text_and_back);
    tcase_add_test(tests, test_limits);
    tcase_add_loop_test(tests, test_refused_texts, 0, (int)UNIT_COUNT(refused));
    tcase_add_test(tests, test_any_text);
    tcase_add_loop_test(tests, test_traits, 0, (int)UNIT_COUNT(expected));
    tcase_add_test(tests, test_patterns_do_not_depend_on_the_locale);
    tcase_add_test(tests, test_idle_rules);
    return unit_run(suite_create("rules"), tests);
}
