#include "common/address.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int check_port(const char *text, const char *port, struct sp_error *error)
{
    size_t length = strlen(port);

    if (length == 0 || length > 5 || strspn(port, "0123456789") != length || atoi(port) > 65535)
        return sp_error_set(error, SP_E_SYNTAX, "'%s': the port must be a number from 0 to 65535", text);
    return SP_OK;
}

int sp_address_parse(const char *text, struct sp_address *address, struct sp_error *error)
{
    const char *colon = strrchr(text, ':');
    const char *host = text;
    size_t length;
    int rc;

    if (colon == NULL)
        return sp_error_set(error, SP_E_SYNTAX, "'%s' is not HOST:PORT", text);
    rc = check_port(text, colon + 1, error);
    if (rc != SP_OK)
        return rc;
    length = (size_t)(colon - text);
    if (length >= 2 && host[0] == '[' && host[length - 1] == ']') {
        host++;
        length -= 2;
    } else if (memchr(host, ':', length) != NULL) {
        return sp_error_set(error, SP_E_SYNTAX, "'%s': write an IPv6 address in brackets, [::1]:7700", text);
    }
    if (length == 0 || length >= sizeof address->host)
        return sp_error_set(error, SP_E_SYNTAX, "'%s': the host must have 1 to %zu characters", text,
                            sizeof address->host - 1);
    memcpy(address->host, host, length);
    address->host[length] = '\0';
    (void)snprintf(address->port, sizeof address->port, "%s", colon + 1);
    return SP_OK;
}

int sp_address_resolve(const struct sp_address *address, bool passive, struct sockaddr_storage *found, size_t *count,
                       struct sp_error *error)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *list;
    int rc;

    hints.ai_flags = AI_NUMERICSERV | (passive ? AI_PASSIVE : 0);
    rc = getaddrinfo(address->host, address->port, &hints, &list);
    if (rc != 0)
        return sp_error_set(error, SP_E_IO, "cannot resolve host '%s': %s", address->host, gai_strerror(rc));
    *count = 0;
    for (const struct addrinfo *a = list; a != NULL && *count < SP_ADDRESSES_MAX; a = a->ai_next) {
        if (a->ai_addrlen > sizeof found[0])
            continue;
        memset(&found[*count], 0, sizeof found[0]);
        memcpy(&found[(*count)++], a->ai_addr, a->ai_addrlen);
    }
    freeaddrinfo(list);
    if (*count == 0)
        return sp_error_set(error, SP_E_IO, "host '%s' has no address that can be used", address->host);
    return SP_OK;
}

bool sp_address_is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)address;

        return ntohl(in->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
    }
    if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)address;

        return IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr) ||
               (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr) && in6->sin6_addr.s6_addr[12] == IN_LOOPBACKNET);
    }
    return false;
}

void sp_address_text(const struct sockaddr *address, char text[SP_ADDRESS_TEXT_BYTES])
{
    char host[INET6_ADDRSTRLEN] = "?";

    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)address;

        (void)inet_ntop(AF_INET, &in->sin_addr, host, sizeof host);
        (void)snprintf(text, SP_ADDRESS_TEXT_BYTES, "%s:%u", host, ntohs(in->sin_port));
    } else if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)address;

        (void)inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof host);
        (void)snprintf(text, SP_ADDRESS_TEXT_BYTES, "[%s]:%u", host, ntohs(in6->sin6_port));
    } else {
        (void)snprintf(text, SP_ADDRESS_TEXT_BYTES, "unknown address");
    }
}

uint64_t sp_address_group(const struct sockaddr *address)
{
    struct sockaddr_in four;
    struct sockaddr_in6 six;
    uint64_t group = 0;

    if (address->sa_family == AF_INET) {
        memcpy(&four, address, sizeof four);
        memcpy(&group, &four.sin_addr, sizeof four.sin_addr);
    } else if (address->sa_family == AF_INET6) {
        memcpy(&six, address, sizeof six);
        if (IN6_IS_ADDR_V4MAPPED(&six.sin6_addr))
            memcpy(&group, six.sin6_addr.s6_addr + 12, 4);
        else
            memcpy(&group, six.sin6_addr.s6_addr, sizeof group);
    }
    return group;
}
