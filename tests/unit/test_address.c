/* HOST:PORT. Nothing here asks a name server: the name that has no address is one that cannot be asked for. */
#include "common/address.h"
#include "unit.h"

#include <arpa/inet.h>
#include <stdio.h>

static const struct {
    const char *text, *host, *port;
} good[] = {
    {"localhost:7700", "localhost", "7700"},
    {"127.0.0.1:0", "127.0.0.1", "0"},
    {"0.0.0.0:65535", "0.0.0.0", "65535"},
    {"[::1]:7700", "::1", "7700"},
    {"[fe80::1%eth0]:1", "fe80::1%eth0", "1"},
    {"[::ffff:10.0.0.1]:00080", "::ffff:10.0.0.1", "00080"},
    {"[name]:80", "name", "80"},
    {"h:1", "h", "1"},
};

START_TEST(test_parse)
{
    struct sp_error error = {.code = SP_OK, .text = "untouched"};
    struct sp_address address;

    memset(&address, 0xff, sizeof address);
    ck_assert_int_eq(sp_address_parse(good[_i].text, &address, &error), SP_OK);
    ck_assert_str_eq(address.host, good[_i].host);
    ck_assert_str_eq(address.port, good[_i].port);
    ck_assert_str_eq(error.text, "untouched");
}
END_TEST

#define NO_COLON " is not HOST:PORT"
#define BAD_PORT ": the port must be a number from 0 to 65535"
#define BRACKETS ": write an IPv6 address in brackets, [::1]:7700"
#define BAD_HOST ": the host must have 1 to 255 characters"

static const struct {
    const char *text, *words;
} bad[] = {
    {"", NO_COLON},          {"localhost", NO_COLON}, {"7700", NO_COLON},         {"h:", BAD_PORT},
    {"h:x", BAD_PORT},       {"h:7700x", BAD_PORT},   {"h: 7700", BAD_PORT},      {"h:+7700", BAD_PORT},
    {"h:-1", BAD_PORT},      {"h:65536", BAD_PORT},   {"h:99999", BAD_PORT},      {"h:100000", BAD_PORT},
    {"h:007700", BAD_PORT},  {"h:0x50", BAD_PORT},    {"h:4294967376", BAD_PORT}, {"[::1]", BAD_PORT},
    {":", BAD_PORT},         {"::1:7700", BRACKETS},  {"fe80::1:1", BRACKETS},    {"[::1:7700", BRACKETS},
    {"::1]:7700", BRACKETS}, {":7700", BAD_HOST},     {"[]:7700", BAD_HOST},      {"a:b:7700", BRACKETS},
};

START_TEST(test_parse_errors)
{
    struct sp_address address = {.host = "as before", .port = "1"};
    struct sp_error error = {0};
    char words[256];

    (void)snprintf(words, sizeof words, "'%s'%s", bad[_i].text, bad[_i].words);
    ck_assert_int_eq(sp_address_parse(bad[_i].text, &address, &error), SP_E_SYNTAX);
    ck_assert_int_eq(error.code, SP_E_SYNTAX);
    ck_assert_str_eq(error.text, words);
    ck_assert_str_eq(address.host, "as before");
    ck_assert_str_eq(address.port, "1");
    ck_assert_int_eq(sp_address_parse(bad[_i].text, &address, NULL), SP_E_SYNTAX);
}
END_TEST

/* "hhh...h:1" or "[hhh...h]:1". */
static void long_address(char *text, size_t host, int brackets)
{
    size_t at = 0;

    if (brackets)
        text[at++] = '[';
    memset(text + at, 'h', host);
    at += host;
    (void)strcpy(text + at, brackets ? "]:1" : ":1");
}

START_TEST(test_longest_host)
{
    struct sp_error error = {0};
    struct sp_address address;
    char text[400];

    for (int brackets = 0; brackets <= 1; brackets++) {
        long_address(text, 255, brackets);
        ck_assert_int_eq(sp_address_parse(text, &address, &error), SP_OK);
        ck_assert_uint_eq(strlen(address.host), 255);
        long_address(text, 256, brackets);
        ck_assert_int_eq(sp_address_parse(text, &address, &error), SP_E_SYNTAX);
        ck_assert_ptr_nonnull(strstr(error.text, "the host must have 1 to 255 characters"));
    }
}
END_TEST

static size_t resolve(const char *text, bool passive, struct sockaddr_storage found[SP_ADDRESSES_MAX])
{
    struct sp_error error = {0};
    struct sp_address address;
    size_t count = 0;

    ck_assert_int_eq(sp_address_parse(text, &address, &error), SP_OK);
    ck_assert_msg(sp_address_resolve(&address, passive, found, &count, &error) == SP_OK, "%s", error.text);
    ck_assert_uint_ge(count, 1);
    ck_assert_uint_le(count, SP_ADDRESSES_MAX);
    return count;
}

START_TEST(test_resolve_ipv4)
{
    struct sockaddr_storage found[SP_ADDRESSES_MAX];
    const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)&found[0];

    for (int passive = 0; passive <= 1; passive++) {
        memset(found, 0xff, sizeof found);
        ck_assert_uint_eq(resolve("127.0.0.1:7700", passive != 0, found), 1);
        ck_assert_int_eq(found[0].ss_family, AF_INET);
        ck_assert_uint_eq(ntohl(in->sin_addr.s_addr), 0x7f000001);
        ck_assert_uint_eq(ntohs(in->sin_port), 7700);
    }
}
END_TEST

START_TEST(test_resolve_ipv6)
{
    struct sockaddr_storage found[SP_ADDRESSES_MAX];
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)&found[0];

    memset(found, 0xff, sizeof found);
    ck_assert_uint_eq(resolve("[2001:db8::7]:65535", false, found), 1);
    ck_assert_int_eq(found[0].ss_family, AF_INET6);
    ck_assert_uint_eq(ntohs(in6->sin6_port), 65535);
    ck_assert_mem_eq(&in6->sin6_addr, "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x07", 16);
}
END_TEST

/* A label has at most 63 characters, so that nobody is asked for this one. */
START_TEST(test_resolve_fails_with_words)
{
    struct sp_address address = {.port = "7700"};
    struct sockaddr_storage found[SP_ADDRESSES_MAX];
    struct sp_error error = {0};
    char start[300];
    size_t count = 0;

    memset(address.host, 'x', 64);
    (void)snprintf(start, sizeof start, "cannot resolve host '%s': ", address.host);
    ck_assert_int_eq(sp_address_resolve(&address, false, found, &count, &error), SP_E_IO);
    ck_assert_int_eq(error.code, SP_E_IO);
    ck_assert_int_eq(strncmp(error.text, start, strlen(start)), 0);
    ck_assert_uint_gt(strlen(error.text), strlen(start));
}
END_TEST

static const struct {
    const char *text;
    bool loopback;
} places[] = {
    {"127.0.0.1:1", true},
    {"127.255.0.1:1", true},
    {"127.0.0.0:1", true},
    {"127.255.255.255:1", true},
    {"126.255.255.255:1", false},
    {"128.0.0.1:1", false},
    {"10.0.0.127:1", false},
    {"0.0.0.0:1", false},
    {"255.255.255.255:1", false},
    {"[::1]:1", true},
    {"[::]:1", false},
    {"[::2]:1", false},
    {"[1::1]:1", false},
    {"[::ffff:127.0.0.1]:1", true},
    {"[::ffff:127.255.0.1]:1", true},
    {"[::ffff:10.0.0.1]:1", false},
    {"[::ffff:128.0.0.1]:1", false},
    {"[::ffff:0.0.0.0]:1", false},
    {"[::127.0.0.1]:1", false}, /* an IPv4 address of old, which no system takes for its own */
    {"[::fffe:127.0.0.1]:1", false},
    {"[64:ff9b::127.0.0.1]:1", false},
    {"[fe80::1]:1", false},
    {"[2001:db8::1]:1", false},
};

/* Only what this machine alone can reach: the server listens there without a secret. */
START_TEST(test_loopback)
{
    struct sockaddr_storage found[SP_ADDRESSES_MAX];

    (void)resolve(places[_i].text, false, found);
    ck_assert_msg(sp_address_is_loopback((const struct sockaddr *)&found[0]) == places[_i].loopback, "%s",
                  places[_i].text);
}
END_TEST

START_TEST(test_loopback_of_another_family)
{
    const struct sockaddr_storage address = {.ss_family = AF_UNIX};

    ck_assert(!sp_address_is_loopback((const struct sockaddr *)&address));
}
END_TEST

START_TEST(test_text)
{
    static const char *const texts[] = {"127.0.0.1:7700", "255.255.255.255:65535", "[::1]:0",
                                        "[2001:db8:1111:2222:3333:4444:5555:6666]:65535"};
    struct sockaddr_storage found[SP_ADDRESSES_MAX];
    char text[SP_ADDRESS_TEXT_BYTES];

    for (size_t i = 0; i < UNIT_COUNT(texts); i++) {
        (void)resolve(texts[i], false, found);
        sp_address_text((const struct sockaddr *)&found[0], text);
        ck_assert_str_eq(text, texts[i]);
    }
}
END_TEST

START_TEST(test_text_of_another_family)
{
    const struct sockaddr_storage address = {.ss_family = AF_UNIX};
    char text[SP_ADDRESS_TEXT_BYTES];

    sp_address_text((const struct sockaddr *)&address, text);
    ck_assert_str_eq(text, "unknown address");
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("address");

    tcase_add_loop_test(tests, test_parse, 0, (int)UNIT_COUNT(good));
    tcase_add_loop_test(tests, test_parse_errors, 0, (int)UNIT_COUNT(bad));
    tcase_add_test(tests, test_longest_host);
    tcase_add_test(tests, test_resolve_ipv4);
    tcase_add_test(tests, test_resolve_ipv6);
    tcase_add_test(tests, test_resolve_fails_with_words);
    tcase_add_loop_test(tests, test_loopback, 0, (int)UNIT_COUNT(places));
    tcase_add_test(tests, test_loopback_of_another_family);
    tcase_add_test(tests, test_text);
    tcase_add_test(tests, test_text_of_another_family);
    return unit_run(suite_create("address"), tests);
}
