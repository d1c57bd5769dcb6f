/* signpost token: makes a secret, for security.token_file or security.operator_token_file. */
#include "common/cli.h"
#include "common/secret.h"
#include "deploy/tool/tool.h"

#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEXT_BYTES (2 * SP_SECRET_BYTES_MIN + 1)
#define OWN_MODE (S_IRUSR | S_IWUSR)

static error_t parse(int key, char *value, struct argp_state *state)
{
    const char **file = state->input;

    if (key != ARGP_KEY_ARG)
        return ARGP_ERR_UNKNOWN;
    if (*file != NULL)
        argp_error(state, "unexpected argument -- '%s'", value);
    *file = value;
    return 0;
}

/* A line of hexadecimal digits. */
static int make_text(char text[TEXT_BYTES + 1], struct sp_error *error)
{
    unsigned char secret[SP_SECRET_BYTES_MIN];
    int rc = sp_random_bytes(secret, sizeof secret, error);

    for (size_t i = 0; rc == SP_OK && i < sizeof secret; i++)
        (void)snprintf(text + 2 * i, 3, "%02x", secret[i]);
    text[TEXT_BYTES - 1] = '\n';
    text[TEXT_BYTES] = '\0';
    explicit_bzero(secret, sizeof secret);
    return rc;
}

static int write_all(int fd, const char *text, size_t bytes, const char *name, struct sp_error *error)
{
    while (bytes > 0) {
        ssize_t n = write(fd, text, bytes);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return sp_error_set(error, SP_E_IO, "cannot write %s: %s", name, strerror(errno));
        text += n;
        bytes -= (size_t)n;
    }
    return SP_OK;
}

static int write_file(const char *path, const char *text, struct sp_error *error)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, OWN_MODE);
    int rc;

    if (fd < 0 && errno == EEXIST)
        return sp_error_set(error, SP_E_IO,
                            "%s exists, and whoever uses it would be shut out: remove it first, or name another file",
                            path);
    if (fd < 0)
        return sp_error_set(error, SP_E_IO, "cannot make %s: %s", path, strerror(errno));
    rc = write_all(fd, text, TEXT_BYTES, path, error);
    if (close(fd) != 0 && rc == SP_OK)
        rc = sp_error_set(error, SP_E_IO, "cannot write %s: %s", path, strerror(errno));
    if (rc != SP_OK)
        (void)unlink(path);
    return rc;
}

/* A file that the shell opened for us is made the user's own as well. */
static int write_out(const char *text, struct sp_error *error)
{
    struct stat status;

    if (fstat(STDOUT_FILENO, &status) == 0 && S_ISREG(status.st_mode) && fchmod(STDOUT_FILENO, OWN_MODE) != 0)
        return sp_error_set(error, SP_E_IO, "cannot make the output readable by its owner only: %s", strerror(errno));
    return write_all(STDOUT_FILENO, text, TEXT_BYTES, "the secret", error);
}

int tool_token(int argc, char **argv)
{
    static const struct argp argp = {
        NULL,
        parse,
        "[FILE]",
        "Makes a secret of 32 random bytes, as 64 hexadecimal digits. It goes to FILE, which only its owner can read, "
        "or to standard output. Copy the file to the server and every worker, and name it in security.token_file; "
        "make another one for security.operator_token_file." SP_CLI_EXAMPLE "signpost token token.secret",
        NULL,
        NULL,
        NULL};
    struct sp_error error = {0};
    char text[TEXT_BYTES + 1];
    const char *file = NULL;
    int rc;

    rc = argp_parse(&argp, argc, argv, 0, NULL, &file);
    if (rc != 0)
        return sp_cli_fail(TOOL, strerror(rc));
    rc = make_text(text, &error);
    if (rc == SP_OK)
        rc = file != NULL ? write_file(file, text, &error) : write_out(text, &error);
    explicit_bzero(text, sizeof text);
    if (rc != SP_OK)
        return sp_cli_fail(TOOL, error.text);
    if (file != NULL)
        (void)printf("%s: a new secret, which only you can read; copy it to the server and to every worker\n", file);
    return SP_EXIT_DONE;
}
