/* Refuses connections and messages to any address that is not loopback, and writes each into a file. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* apt alone may fetch: the packages of the lab and of the boot loaders. */
static int is_apt(void)
{
    return strstr(program_invocation_name, "/apt/methods/") != NULL;
}

static int is_here(const struct sockaddr *to, socklen_t length)
{
    if (is_apt() || !to || length < sizeof(sa_family_t))
        return 1;
    if (to->sa_family == AF_INET && length >= sizeof(struct sockaddr_in)) {
        uint32_t address = ntohl(((const struct sockaddr_in *)to)->sin_addr.s_addr);
        return address >> 24 == 127 || address == 0;
    }
    if (to->sa_family == AF_INET6 && length >= sizeof(struct sockaddr_in6)) {
        const struct in6_addr *address = &((const struct sockaddr_in6 *)to)->sin6_addr;
        if (IN6_IS_ADDR_V4MAPPED(address))
            return address->s6_addr[12] == 127;
        return IN6_IS_ADDR_LOOPBACK(address) || IN6_IS_ADDR_UNSPECIFIED(address);
    }
    return 1;
}

static int refuse(const struct sockaddr *to)
{
    char text[INET6_ADDRSTRLEN] = "?", line[128];
    const char *path = getenv("NETWORK_GUARD_LOG");
    const void *address = to->sa_family == AF_INET ? (const void *)&((const struct sockaddr_in *)to)->sin_addr
                                                   : (const void *)&((const struct sockaddr_in6 *)to)->sin6_addr;
    inet_ntop(to->sa_family, address, text, sizeof text);
    int length = snprintf(line, sizeof line, "%s: %s\n", program_invocation_short_name, text);
    int file = path ? open(path, O_WRONLY | O_APPEND | O_CLOEXEC) : -1;
    if (file >= 0) {
        if (write(file, line, length) < 0)
            (void)0;
        close(file);
    }
    errno = ENETUNREACH;
    return -1;
}

int connect(int fd, const struct sockaddr *to, socklen_t length)
{
    static int (*real)(int, const struct sockaddr *, socklen_t);
    if (!is_here(to, length))
        return refuse(to);
    if (!real)
        real = dlsym(RTLD_NEXT, "connect");
    return real(fd, to, length);
}

ssize_t sendto(int fd, const void *data, size_t size, int flags, const struct sockaddr *to, socklen_t length)
{
    static ssize_t (*real)(int, const void *, size_t, int, const struct sockaddr *, socklen_t);
    if (!is_here(to, length))
        return refuse(to);
    if (!real)
        real = dlsym(RTLD_NEXT, "sendto");
    return real(fd, data, size, flags, to, length);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    static ssize_t (*real)(int, const struct msghdr *, int);
    if (message && !is_here(message->msg_name, message->msg_namelen))
        return refuse(message->msg_name);
    if (!real)
        real = dlsym(RTLD_NEXT, "sendmsg");
    return real(fd, message, flags);
}
