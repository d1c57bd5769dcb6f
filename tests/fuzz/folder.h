/* A folder of a fuzz target's own, in memory, which is many times faster than a disk; gone when the program ends. */
#pragma once

#include "common/check.h"

#include <stdio.h>
#include <stdlib.h>

static char folder[] = "/dev/shm/fuzz.XXXXXX";

static void remove_folder(void)
{
    char command[64];

    (void)snprintf(command, sizeof command, "rm -rf %s", folder);
    (void)!system(command);
}

/* Does nothing if it is there. */
static void make_folder(void)
{
    static int made;

    if (made++ == 0) {
        sp_assert(mkdtemp(folder) != NULL);
        (void)atexit(remove_folder);
    }
}
