/* What the commands that draw have in common: gnuplot's scripts, and gnuplot itself. */
#pragma once

#include "common/error.h"

#include <stddef.h>
#include <stdio.h>

#define GNUPLOT_PACKAGE "gnuplot-nox"
#define GNUPLOT_COLOURS 12

/* They can be told apart on white. */
extern const char *const gnuplot_colours[GNUPLOT_COLOURS];

/* Writes a text into a script, in quotes in which gnuplot takes every character as it is. Control characters become
 * spaces, bytes that are no UTF-8 question marks: neither has a place in a picture. */
void gnuplot_quote(FILE *file, const char *text);

/* Writes the line that begins a picture of so many pixels; texts in it are not interpreted ("sans,13" is a font). */
void gnuplot_svg(FILE *file, size_t width, size_t height, const char *font);
void gnuplot_png(FILE *file, size_t width, size_t height, const char *font);

/* Has gnuplot draw by these scripts, up to a NULL, which lie in the folder that we are in; what it says goes to the
 * file `log` there, which is left if it failed. SP_E_MISSING, without words, if there is no gnuplot. */
int gnuplot_run(const char *const *scripts, const char *log, struct sp_error *error);
