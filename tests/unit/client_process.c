#include "client_cases.h"
TCase *client_process_cases(void)
{
    return tcase_create("process");
}
