/*
 * A resolver under a process, for tests: whatever ends as NAMES_BELOW says is on this machine, and every
 * other name is what it is. Loaded with LD_PRELOAD.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>

int getaddrinfo(const char *restrict name, const char *restrict service,
                const struct addrinfo *restrict hints, struct addrinfo **restrict found)
{
    static int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    const char *below = getenv("NAMES_BELOW");
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    if (name && below && strlen(name) >= strlen(below) &&
        strcmp(name + strlen(name) - strlen(below), below) == 0)
        name = "127.0.0.1";
    return real(name, service, hints, found);
}
