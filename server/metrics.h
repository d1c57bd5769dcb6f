/* The job in Prometheus' text format (https://prometheus.io/docs/instrumenting/exposition_formats/): every number is
 * one of the status, with its meaning as HELP and its unit in the name. README.md lists them; tests/docs compares. */
#pragma once

struct sp_server;

/* Text that the caller frees; NULL if out of memory. */
char *sp_metrics_text(struct sp_server *server);
