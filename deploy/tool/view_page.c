#include "deploy/tool/view.h"

#include <stdio.h>
#include <string.h>

#define LABEL_COLUMNS 10
#define FOLDS_MAX 3
#define TABLE_LINES_MIN 3 /* its heading, a worker, and how many more there are */
#define TABLE_LINES_FAIR 6

struct view_line *view_add(struct view_page *page, unsigned rank)
{
    unsigned at = page->count < VIEW_LINES_MAX ? page->count++ : VIEW_LINES_MAX - 1;

    view_line_begin(&page->line[at], &page->window);
    page->rank[at] = (unsigned char)rank;
    return &page->line[at];
}

struct view_line *view_add_labelled(struct view_page *page, unsigned rank, const char *label)
{
    struct view_line *line = view_add(page, rank);

    view_put(line, VIEW_FAINT, "%s", label);
    view_pad(line, LABEL_COLUMNS);
    return line;
}

void view_add_blank(struct view_page *page)
{
    if (page->roomy)
        (void)view_add(page, VIEW_RANK_BLANK);
}

/* How many bytes of the words go on one line: up to the last blank that has room, or all of them. */
static size_t fold(const char *words, const struct view_window *window)
{
    struct view_line measure;
    size_t last = 0;

    for (size_t i = 0;; i++) {
        if (words[i] != ' ' && words[i] != '\0')
            continue;
        view_line_begin(&measure, window);
        view_pad(&measure, LABEL_COLUMNS);
        view_put(&measure, VIEW_PLAIN, "%.*s", (int)i, words);
        if (measure.cut)
            return last > 0 ? last : strlen(words);
        last = i;
        if (words[i] == '\0')
            return i;
    }
}

void view_add_words(struct view_page *page, unsigned rank, enum view_style style, const char *label, const char *words)
{
    for (int i = 0; i < FOLDS_MAX; i++) {
        struct view_line *line = view_add_labelled(page, rank, i == 0 ? label : "");
        bool last = !page->folds || i == FOLDS_MAX - 1;
        size_t bytes = last ? strlen(words) : fold(words, &page->window);

        view_put(line, style, "%.*s", (int)bytes, words);
        words += bytes;
        while (*words == ' ')
            words++;
        if (*words == '\0')
            return;
    }
}

static void add_sections(struct view_page *page, const struct view *view)
{
    const json_t *status = view->status;

    page->count = 0;
    view_job_head(page, view);
    if (view->trouble != NULL)
        view_add_words(page, VIEW_RANK_TROUBLE, VIEW_ALERT, "server", view->trouble);
    if (status == NULL)
        return;
    if (view_text(status, "waits_for")[0] != '\0')
        view_add_words(page, VIEW_RANK_TROUBLE, VIEW_ALERT, "waits for", view_text(status, "waits_for"));
    view_add_blank(page);
    view_job_curves(page, view);
    view_add_blank(page);
    view_job_phase(page, status);
    view_traffic(page, status);
    view_warnings(page, status);
    view_add_blank(page);
}

static void drop_line(struct view_page *page)
{
    unsigned worst = 0;

    for (unsigned i = 0; i < page->count; i++) {
        if (page->rank[i] >= page->rank[worst])
            worst = i;
    }
    page->count--;
    memmove(page->line + worst, page->line + worst + 1, (page->count - worst) * sizeof page->line[0]);
    memmove(page->rank + worst, page->rank + worst + 1, (page->count - worst) * sizeof page->rank[0]);
}

void view_render(const struct view *view, const struct view_window *window, struct view_page *page)
{
    unsigned room = window->lines < VIEW_LINES_MAX ? window->lines : VIEW_LINES_MAX;
    unsigned table = view_workers_lines(view->status), left;

    page->window = *window;
    for (int step = 0; step < 3; step++) { /* the sections are never VIEW_LINES_MAX lines */
        page->roomy = step == 0;
        page->folds = step < 2;
        add_sections(page, view);
        if (page->count + 1 + (step == 1 && table > TABLE_LINES_FAIR ? TABLE_LINES_FAIR : table) <= room)
            break;
    }
    while (page->count + (view->status != NULL) > room && page->count > 1)
        drop_line(page);
    if (view->status == NULL || page->count >= room)
        return;
    left = room - page->count - 1;
    if (left < TABLE_LINES_MIN && left < table)
        left = 0;
    view_workers_head(page, view->status, left > 0);
    if (left > 0)
        view_workers_table(page, view->status, left);
}
