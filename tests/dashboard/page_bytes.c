/* Prints the dashboard as it is in the server's binary. */
#include "server/dashboard/page.h"

#include <stdio.h>

int main(void)
{
    return fwrite(sp_dashboard_page, 1, sp_dashboard_page_bytes, stdout) == sp_dashboard_page_bytes ? 0 : 1;
}
