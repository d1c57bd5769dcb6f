/* gnuplot, for the plots of a comparison: started once for all scripts, with a time limit. */
#include "deploy/tool/compare.h"
#include "deploy/tool/process.h"
#include "deploy/tool/tool.h"

#include <signal.h>
#include <unistd.h>

#define LOG "gnuplot.log"
#define SCRIPTS_MAX 8
#define DRAW_MS_MAX 120000

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

static int run_gnuplot(struct draw *draw, char **arguments)
{
    uv_loop_t loop;
    int rc;

    if (uv_loop_init(&loop) != 0)
        return SP_E_NOMEM;
    (void)uv_timer_init(&loop, &draw->timer);
    draw->process.data = draw->timer.data = draw;
    rc = tool_spawn(&loop, &draw->process, arguments, LOG, 0, on_exit_of_gnuplot);
    if (rc == SP_OK)
        (void)uv_timer_start(&draw->timer, on_timer, DRAW_MS_MAX, 0);
    else
        uv_close((uv_handle_t *)&draw->timer, NULL);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(&loop);
    return rc;
}

int compare_draw(const struct compare *compare, const char *const *names, struct sp_error *error)
{
    char scripts[SCRIPTS_MAX][32], line[256];
    char *arguments[SCRIPTS_MAX + 3] = {(char *)"gnuplot", (char *)"-d"}; /* -d: without the user's own settings */
    static struct draw draw;
    int rc;

    for (size_t i = 0; names[i] != NULL && i < SCRIPTS_MAX; i++) {
        (void)snprintf(scripts[i], sizeof scripts[i], "%s.gp", names[i]);
        arguments[2 + i] = scripts[i];
    }
    (void)unlink(LOG);
    rc = run_gnuplot(&draw, arguments);
    if (rc == SP_E_MISSING) {
        (void)printf(
            "plots   none, for want of gnuplot: install the package gnuplot-nox, and give the command again\n");
        return SP_OK;
    }
    if (rc != SP_OK)
        return sp_error_set(error, rc, "gnuplot cannot be started: %s", sp_code_text(rc));
    if (draw.status != 0 || draw.signal_number != 0) {
        tool_last_line(LOG, NULL, line, sizeof line);
        return sp_error_set(error, SP_E_IO, "gnuplot failed: %s (log: %s/" LOG ")", line, compare->out);
    }
    (void)unlink(LOG);
    (void)printf("plots   %s:", compare->out);
    for (size_t i = 0; names[i] != NULL; i++)
        (void)printf("%s %s", i == 0 ? "" : ",", names[i]);
    (void)printf(" (.svg, .png; .gp and .dat to change them)\n");
    return SP_OK;
}
