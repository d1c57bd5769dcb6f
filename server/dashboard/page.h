/* The dashboard: one page of HTML in UTF-8 that needs nothing but the server's own answers. embed.py makes the source
 * from the other files of this folder. */
#pragma once

#include <stddef.h>

extern const unsigned char sp_dashboard_page[]; /* not ended by a zero */
extern const size_t sp_dashboard_page_bytes;
