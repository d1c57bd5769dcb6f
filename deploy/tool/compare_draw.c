/* Has the plots of a comparison drawn, and says where they are. */
#include "deploy/tool/compare.h"
#include "deploy/tool/gnuplot.h"

#define LOG "gnuplot.log"
#define SCRIPTS_MAX 8

int compare_draw(const struct compare *compare, const char *const *names, struct sp_error *error)
{
    const char *scripts[SCRIPTS_MAX + 1] = {NULL};
    char files[SCRIPTS_MAX][32];
    int rc;

    for (size_t i = 0; names[i] != NULL && i < SCRIPTS_MAX; i++) {
        (void)snprintf(files[i], sizeof files[i], "%s.gp", names[i]);
        scripts[i] = files[i];
    }
    rc = gnuplot_run(scripts, LOG, error);
    if (rc == SP_E_MISSING) {
        (void)printf("plots   none, for want of gnuplot: install the package " GNUPLOT_PACKAGE
                     ", and give the command again\n");
        return SP_OK;
    }
    if (rc != SP_OK)
        return sp_error_prefix(error, "plots (log: %s/" LOG ")", compare->out);
    (void)printf("plots   %s:", compare->out);
    for (size_t i = 0; names[i] != NULL; i++)
        (void)printf("%s %s", i == 0 ? "" : ",", names[i]);
    (void)printf(" (.svg, .png; .gp and .dat to change them)\n");
    return SP_OK;
}
