/* gnuplot, started once for all scripts, with a time limit. */
#include "deploy/tool/gnuplot.h"

#include "common/utf8.h"
#include "deploy/tool/process.h"
#include "deploy/tool/tool.h"

#include <signal.h>
#include <unistd.h>

#define SCRIPTS_MAX 8
#define DRAW_MS_MAX 120000

const char *const gnuplot_colours[GNUPLOT_COLOURS] = {"#1f77b4", "#d62728", "#2ca02c", "#ff7f0e", "#9467bd", "#17becf",
                                                      "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#1a1a1a", "#b39ddb"};

/* --- scripts ---------------------------------------------------------------------------------------------------------
 */

void gnuplot_quote(FILE *file, const char *text)
{
    (void)fputc('\'', file);
    while (*text != '\0') {
        size_t bytes = sp_utf8_bytes(text);

        if (*text == '\'')
            (void)fputs("''", file); /* the one character that single quotes do not take as it is */
        else if (bytes == 0)
            (void)fputc('?', file);
        else if ((unsigned char)*text < ' ' || *text == 0x7f)
            (void)fputc(' ', file);
        else
            (void)fwrite(text, 1, bytes, file);
        text += bytes > 0 ? bytes : 1;
    }
    (void)fputc('\'', file);
}

void gnuplot_svg(FILE *file, size_t width, size_t height, const char *font)
{
    (void)fprintf(file, "set terminal svg size %zu,%zu dynamic noenhanced font '%s' background rgb 'white'\n", width,
                  height, font);
}

void gnuplot_png(FILE *file, size_t width, size_t height, const char *font)
{
    (void)fprintf(file,
                  "if (strstrt(GPVAL_TERMINALS, 'pngcairo')) set terminal pngcairo size %zu,%zu noenhanced font '%s'; "
                  "else set terminal png truecolor size %zu,%zu noenhanced\n",
                  width, height, font, width, height);
}

/* --- the program -----------------------------------------------------------------------------------------------------
 */

struct draw {
    uv_process_t process;
    uv_timer_t timer;
    int64_t status;
    int signal_number;
};

static void on_exit_of_gnuplot(uv_process_t *process, int64_t status, int signal_number)
{
    struct draw *draw = process->data;

    draw->status = status;
    draw->signal_number = signal_number;
    uv_close((uv_handle_t *)process, NULL);
    uv_close((uv_handle_t *)&draw->timer, NULL);
}

static void on_timer(uv_timer_t *timer)
{
    struct draw *draw = timer->data;

    (void)uv_process_kill(&draw->process, SIGKILL);
}

static int run(struct draw *draw, char **arguments, const char *log)
{
    uv_loop_t loop;
    int rc;

    if (uv_loop_init(&loop) != 0)
        return SP_E_NOMEM;
    (void)uv_timer_init(&loop, &draw->timer);
    draw->process.data = draw->timer.data = draw;
    rc = tool_spawn(&loop, &draw->process, arguments, log, 0, on_exit_of_gnuplot);
    if (rc == SP_OK)
        (void)uv_timer_start(&draw->timer, on_timer, DRAW_MS_MAX, 0);
    else
        uv_close((uv_handle_t *)&draw->timer, NULL);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(&loop);
    return rc;
}

int gnuplot_run(const char *const *scripts, const char *log, struct sp_error *error)
{
    char *arguments[SCRIPTS_MAX + 3] = {(char *)"gnuplot", (char *)"-d"}; /* -d: without the user's own settings */
    static struct draw draw;
    char line[256];
    int rc;

    for (size_t i = 0; scripts[i] != NULL && i < SCRIPTS_MAX; i++)
        arguments[2 + i] = (char *)scripts[i];
    (void)unlink(log);
    rc = run(&draw, arguments, log);
    if (rc == SP_E_MISSING)
        return rc;
    if (rc != SP_OK)
        return sp_error_set(error, rc, "gnuplot cannot be started: %s", sp_code_text(rc));
    if (draw.signal_number == SIGKILL)
        return sp_error_set(error, SP_E_IO, "gnuplot was killed: it took more than %d s, or somebody else did it",
                            DRAW_MS_MAX / 1000);
    if (draw.status != 0 || draw.signal_number != 0) {
        tool_last_line(log, NULL, line, sizeof line);
        return sp_error_set(error, SP_E_IO, "gnuplot failed: %s", line);
    }
    (void)unlink(log);
    return SP_OK;
}
