/* Inside TLS: shared by tls_files.c and tls.c. Nobody else includes this. */
#pragma once

#include "common/tls.h"

#include <openssl/ssl.h>

struct sp_tls_files {
    SSL_CTX *context; /* owned; every connection holds it as well */
    enum sp_tls_side side;
    char ca[200]; /* the end of its path, for words */
    char words[512];
};
