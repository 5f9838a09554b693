/* Preloaded into a process and all that it starts: notes every address outside this machine that is looked up or
 * sent to, by whichever library, and that the note-taking was there at all. Loopback, files and pipes pass. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void note(const char *form, ...) {
    const char *path = getenv("OUTSIDE_LOG");
    char line[512];
    va_list words;
    int file, length;
    if (!path) return;
    va_start(words, form);
    length = vsnprintf(line, sizeof line, form, words);
    va_end(words);
    file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (file < 0) return;
    if (write(file, line, length) < 0) abort();
    close(file);
}

__attribute__((constructor)) static void loaded(void) {
    char name[256] = {0};
    if (readlink("/proc/self/exe", name, sizeof name - 1) > 0) note("in %s\n", name);
}

static void sent(const char *call, const struct sockaddr *to) {
    char text[INET6_ADDRSTRLEN] = {0};
    if (!to) return;
    if (to->sa_family == AF_INET) {
        const struct in_addr *address = &((const struct sockaddr_in *)to)->sin_addr;
        if ((ntohl(address->s_addr) >> 24) == 127 || !address->s_addr) return;
        note("out %s %s\n", call, inet_ntop(AF_INET, address, text, sizeof text));
    } else if (to->sa_family == AF_INET6) {
        const struct in6_addr *address = &((const struct sockaddr_in6 *)to)->sin6_addr;
        if (IN6_IS_ADDR_LOOPBACK(address) || IN6_IS_ADDR_UNSPECIFIED(address)) return;
        if (IN6_IS_ADDR_V4MAPPED(address) && address->s6_addr[12] == 127) return;
        note("out %s %s\n", call, inet_ntop(AF_INET6, address, text, sizeof text));
    }
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int connect(int fd, const struct sockaddr *to, socklen_t size) {
    sent("connect", to);
    return REAL(connect)(fd, to, size);
}

ssize_t sendto(int fd, const void *data, size_t count, int flags, const struct sockaddr *to, socklen_t size) {
    sent("sendto", to);
    return REAL(sendto)(fd, data, count, flags, to, size);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    sent("sendmsg", message->msg_name);
    return REAL(sendmsg)(fd, message, flags);
}

int sendmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags) {
    for (unsigned int i = 0; i < count; i++) sent("sendmmsg", messages[i].msg_hdr.msg_name);
    return REAL(sendmmsg)(fd, messages, count, flags);
}

static void asked(const char *name) {
    unsigned char address[16];
    if (!name || !strcmp(name, "localhost")) return;
    if (inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1) return;
    note("out lookup %s\n", name);
}

int getaddrinfo(const char *name, const char *port, const struct addrinfo *hints, struct addrinfo **found) {
    asked(name);
    return REAL(getaddrinfo)(name, port, hints, found);
}

struct hostent *gethostbyname(const char *name) {
    asked(name);
    return REAL(gethostbyname)(name);
}

int gethostbyname_r(const char *name, struct hostent *entry, char *room, size_t size, struct hostent **found,
                    int *fault) {
    asked(name);
    return REAL(gethostbyname_r)(name, entry, room, size, found, fault);
}
