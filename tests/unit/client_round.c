#include "client_cases.h"
TCase *client_round_cases(void)
{
    return tcase_create("round");
}
