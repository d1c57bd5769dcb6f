#include "deploy/tool/check_trouble.h"

#include "proto/reason.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

#define SHOWN_BYTES 24

struct words {
    char *text;
    size_t bytes;
};

static void __attribute__((format(printf, 2, 3))) say(const struct words *to, const char *format, ...)
{
    size_t used = strlen(to->text);
    va_list args;

    va_start(args, format);
    (void)vsnprintf(to->text + used, to->bytes - used, format, args);
    va_end(args);
}

/* --- who else it may be ----------------------------------------------------------------------------------------------
 */

static bool begins(const struct line *line, const char *with)
{
    size_t count = strlen(with);

    return line->said_bytes >= count && memcmp(line->said, with, count) == 0;
}

/* As far as it said anything. */
static bool is_ours(const struct line *line)
{
    size_t count = line->said_bytes < 4 ? line->said_bytes : 4;

    return memcmp(line->said, SP_FRAME_MAGIC, count) == 0;
}

static const char *known_other(const struct line *line)
{
    static const struct {
        const char *start, *what;
    } others[] = {{"HTTP/", "it speaks HTTP: a web server or a proxy"},
                  {"<", "it speaks HTML: a web server"},
                  {"SSH-", "it is an SSH server"},
                  {"\x15\x03", "it speaks TLS, and this job does not (security.tls)"},
                  {"\x16\x03", "it speaks TLS, and this job does not (security.tls)"},
                  {"220", "it is a mail or FTP server"},
                  {"+OK", "it is a mail server"},
                  {"* OK", "it is a mail server"},
                  {"-ERR", "it is a Redis server, or another one that answers -ERR"},
                  {"RFB ", "it is a VNC server"}};

    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (begins(line, others[i].start))
            return others[i].what;
    return NULL;
}

static void say_other(const struct line *line, const struct words *to)
{
    const char *what = known_other(line);

    say(to, "no Signpost server answers there");
    if (what != NULL) {
        say(to, ": %s", what);
    } else {
        say(to, ": what it says begins with \"");
        for (size_t i = 0; i < line->said_bytes && i < SHOWN_BYTES; i++)
            say(to, line->said[i] >= ' ' && line->said[i] <= '~' ? "%c" : "\\x%02x", line->said[i]);
        say(to, "\"");
    }
    say(to, "; look at host and port (server.listen of the server's job file, or its log)");
}

static void say_silence(const struct line *line, const struct words *to)
{
    if (line->said_bytes > 0)
        say(to, "it takes the connection, begins to answer, and says no more within %d s: its line is cut, or it hangs",
            LINE_SECONDS);
    else
        say(to,
            "it takes the connection, but says nothing within %d s: no Signpost server (which answers at once), or one "
            "that hangs; look at host and port, and at the server's log",
            LINE_SECONDS);
}

static void say_closed(const struct line *line, const struct words *to)
{
    say(to,
        "it takes the connection and closes it without a word: no Signpost server%s, or a proxy or a container's port "
        "behind which none runs; look at host and port, and whether the server is started",
        line->tls == NULL ? " (perhaps one that speaks TLS)" : "");
}

/* --- how far it came -------------------------------------------------------------------------------------------------
 */

static void say_name(const struct line *line, const struct sp_error *error, const struct words *to)
{
    say(to, "%s", error->text);
    if (error->code != SP_E_SYNTAX && line->address.host[0] != '\0')
        say(to, "; look at its spelling, and at this machine's resolver (/etc/hosts, DNS)");
}

static void say_connect(const struct line *line, const struct sp_error *error, const struct words *to)
{
    switch (line->system) {
    case ECONNREFUSED:
        say(to, "nobody listens there (connection refused): start the server, or look at the port; a server with "
                "server.listen 127.0.0.1 is reached from its own machine only");
        break;
    case ETIMEDOUT:
        say(to,
            "no answer within %d s: a firewall drops what is sent there, there is no route, or the machine is off or "
            "another one; try ping, and open the server's port",
            LINE_SECONDS);
        break;
    case EHOSTUNREACH:
    case ENETUNREACH:
        say(to, "there is no way to that machine (%s): look at its address, and at routes and firewalls on the way",
            strerror(line->system));
        break;
    default:
        say(to, "%s", error->text);
    }
}

/* A server without TLS answers a client that has it in the clear: perhaps it is only full. */
static bool is_full(const struct line *line)
{
    struct sp_message bye = {0};
    const uint8_t *control = line->said + SP_FRAME_HEADER_BYTES;

    return line->said_bytes > SP_FRAME_HEADER_BYTES && sp_frame_decode(line->said, &bye.frame, NULL) == SP_OK &&
           bye.frame.type == SP_FRAME_BYE && bye.frame.control_bytes <= line->said_bytes - SP_FRAME_HEADER_BYTES &&
           sp_codec_decode(&bye, control, NULL) == SP_OK && bye.bye.reason == SP_REASON_BUSY;
}

static void say_tls(const struct line *line, const struct sp_error *error, const struct words *to)
{
    bool is_tls = begins(line, "\x15\x03") || begins(line, "\x16\x03");

    if (line->said_bytes == 0 && error->code != SP_E_TIMEOUT)
        say_closed(line, to);
    else if (line->said_bytes == 0)
        say_silence(line, to);
    else if (is_full(line))
        say(to, "the server is at its limit of connections; try again in a while (server.limits)");
    else if (begins(line, SP_FRAME_MAGIC))
        say(to, "the server runs without TLS, and this job asks for it: set security.tls on both sides, or on neither");
    else if (!is_tls)
        say_other(line, to);
    else
        say(to, "%s", error->text);
}

/* --- what a Signpost server says -------------------------------------------------------------------------------------
 */

static void say_secret(const struct line *line, const struct words *to)
{
    const char *theirs = line->bye.words;

    if (strncmp(theirs, SP_TLS_WANTED, strlen(SP_TLS_WANTED)) == 0)
        say(to, "the server asks for TLS, and this job has none: set security.tls.cert, .key and .ca "
                "(deploy/make-certs.sh makes them)");
    else
        say(to, "not authorised: %s", theirs);
}

static void say_bye(const struct line *line, const struct words *to)
{
    const char *theirs = line->bye.words;

    switch (line->bye.reason) {
    case SP_REASON_VERSION:
        say(to,
            "the server speaks version %u of Signpost's protocol, this program version %d: install the same release "
            "on both",
            line->said[4], SP_FRAME_VERSION);
        break;
    case SP_REASON_JOB:
        say(to, "it is another job's server: %s; look at the address, or set `job` alike on both sides", theirs);
        break;
    case SP_REASON_LAYOUT:
        say(to,
            "wrong layout: the server says: %s ('here' is the server's job, 'there' this job file); give both the "
            "same model and the same shape of data",
            theirs);
        break;
    case SP_REASON_DATA:
        say(to, "other data: %s; give all workers the same files", theirs);
        break;
    case SP_REASON_SECRET:
        say_secret(line, to);
        break;
    case SP_REASON_BUSY:
        say(to, "the server is at its limit: %s; try again in a while (server.limits)", theirs);
        break;
    case SP_REASON_DONE:
    case SP_REASON_STOPPED:
        say(to, "the job is over: %s", theirs);
        break;
    default:
        say(to, "the server refuses: %s", theirs);
    }
}

/* A release before probes knows workers and operators only. */
static bool is_older(const struct line *line)
{
    return line->bye.reason == SP_REASON_PROTOCOL && strstr(line->bye.words, "an unknown role") != NULL;
}

static void say_clock(const struct line *line, const struct words *to)
{
    time_t now = time(NULL);
    struct tm utc;
    char text[40] = "?";

    if (gmtime_r(&now, &utc) != NULL)
        (void)strftime(text, sizeof text, "%b %e %H:%M:%S %Y GMT", &utc);
    say(to, "; ours is the %s, and this machine's clock is at %s", line->cert, text);
}

static void say_frames(const struct line *line, const struct sp_error *error, const struct words *to)
{
    bool hung_up = error->code == SP_E_CLOSED || error->code == SP_E_IO;

    if (line->is_bye && is_older(line))
        say(to,
            "a Signpost server of protocol version %u listens there, but its release is older than probes, so that "
            "it does not say whether it would let a worker in: install the same release on both, or start a worker",
            line->said[4]);
    else if (line->is_bye)
        say_bye(line, to);
    else if (!is_ours(line))
        say_other(line, to);
    else if (error->code == SP_E_TIMEOUT)
        say_silence(line, to);
    else if (hung_up && line->said_bytes == 0)
        say_closed(line, to);
    else if (error->code == SP_E_MISMATCH)
        say(to, "not authorised: %s", error->text);
    else
        say(to, "%s", error->text);
    if (error->code == SP_E_REJECTED && !line->is_bye && line->cert[0] != '\0')
        say_clock(line, to);
}

void check_trouble(const struct line *line, const struct sp_error *error, char *words, size_t bytes)
{
    const struct words to = {.text = words, .bytes = bytes};

    words[0] = '\0';
    if (line->server != NULL)
        say(&to, "%s: ", line->server);
    switch (line->step) {
    case LINE_NAME:
        say_name(line, error, &to);
        break;
    case LINE_CONNECT:
        say_connect(line, error, &to);
        break;
    case LINE_TLS:
        say_tls(line, error, &to);
        break;
    case LINE_FRAMES:
        say_frames(line, error, &to);
        break;
    }
}
