#include "tls_made.h"

#include "unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/sp-unit-tls.XXXXXX";

static const char script[] =
    "set -e; cd '%s'; for ca in one two; do bash '%s/deploy/make-certs.sh' $ca --server params.example; done; umask "
    "077;"
    "openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out rsa.key;"
    "openssl pkey -in one/server.key -aes-256-cbc -passout pass:x -out encrypted.key;"
    "openssl req -new -key rsa.key -subj /CN=late -out request;"
    "openssl x509 -req -in request -CA one/ca.crt -CAkey one/ca.key -set_serial 7 -days -1 -out expired.crt";

static void run(const char *command)
{
    if (system(command) != 0) {
        (void)fprintf(stderr, "failed: %s\n", command);
        exit(EXIT_FAILURE);
    }
}

void tls_made_begin(void)
{
    const char *root = getenv("SP_SOURCE_ROOT");
    char command[2048];

    if (root == NULL || mkdtemp(folder) == NULL) {
        (void)fputs("SP_SOURCE_ROOT is not set, or there is no folder for certificates\n", stderr);
        exit(EXIT_FAILURE);
    }
    (void)snprintf(command, sizeof command - 32, script, folder, root);
    (void)strcat(command, ") > /dev/null 2>&1");
    memmove(command + 1, command, strlen(command) + 1);
    command[0] = '(';
    run(command);
}

void tls_made_end(void)
{
    char command[64];

    (void)snprintf(command, sizeof command, "rm -rf '%s'", folder);
    run(command);
}

void tls_made_paths(struct sp_tls_paths *paths, const char *cert, const char *key, const char *ca)
{
    (void)snprintf(paths->cert, sizeof paths->cert, "%s/%s", folder, cert);
    (void)snprintf(paths->key, sizeof paths->key, "%s/%s", folder, key);
    (void)snprintf(paths->ca, sizeof paths->ca, "%s/%s", folder, ca);
}

struct sp_tls_files *tls_made_files_of(enum sp_tls_side side, const char *cert, const char *key, const char *ca)
{
    struct sp_error error = {0};
    struct sp_tls_files *files;
    struct sp_tls_paths paths;

    tls_made_paths(&paths, cert, key, ca);
    ck_assert_msg(sp_tls_files_load(&files, side, &paths, &error) == SP_OK, "%s", error.text);
    return files;
}

struct sp_tls_files *tls_made_files(enum sp_tls_side side, const char *in, const char *who)
{
    char cert[64], key[64], ca[64];

    (void)snprintf(cert, sizeof cert, "%s/%s.crt", in, who);
    (void)snprintf(key, sizeof key, "%s/%s.key", in, who);
    (void)snprintf(ca, sizeof ca, "%s/ca.crt", in);
    return tls_made_files_of(side, cert, key, ca);
}

void tls_made_write(const char *name, const char *content, mode_t mode)
{
    char path[128];
    int fd;

    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, content, strlen(content)), (ssize_t)strlen(content));
    ck_assert_int_eq(fchmod(fd, mode), 0);
    ck_assert_int_eq(close(fd), 0);
}

void tls_made_join(const char *name, const char *first, const char *second)
{
    char command[300];

    (void)snprintf(command, sizeof command, "cd '%s' && cat %s %s > %s", folder, first, second, name);
    ck_assert_int_eq(system(command), 0);
}
