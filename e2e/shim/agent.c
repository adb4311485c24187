/* A program that knows nothing of ours: it asks at the socket argv[1] for each path that it reads, and
 * says how that was answered: the status, a blank and the body, a line each. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void ask(const char *socket_path, const char *path) {
    static char answer[65536];
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    size_t length = 0;
    ssize_t got = 0;
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    strncpy(at.sun_path, socket_path, sizeof at.sun_path - 1);
    if (fd < 0 || connect(fd, (struct sockaddr *)&at, sizeof at) != 0) {
        puts("0 {}");
    } else {
        dprintf(fd,
                "GET %s HTTP/1.1\r\nHost: localhost\r\nworkload.spiffe.io: true\r\n"
                "Connection: close\r\n\r\n",
                path);
        while (length < sizeof answer - 1 &&
               (got = read(fd, answer + length, sizeof answer - 1 - length)) > 0)
            length += (size_t)got;
        answer[length] = 0;
        char *body = strstr(answer, "\r\n\r\n");
        printf("%.3s %s\n", length > 12 ? answer + 9 : "0  ", body ? body + 4 : "{}");
    }
    fflush(stdout);
    if (fd >= 0)
        close(fd);
}

int main(int argc, char **argv) {
    char path[1024];
    while (argc > 1 && fgets(path, sizeof path, stdin)) {
        path[strcspn(path, "\n")] = 0;
        ask(argv[1], path);
    }
    return 0;
}
