/*
 * A TCP connection's throughput: stream get|put ADDRESS PORT MIB.
 *
 * It sends the direction as one letter and the count as a decimal line. `get` then receives so many
 * MiB; `put` sends them, and waits for one byte that says that all came.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BLOCK = 64 << 10 };

static char block[BLOCK];

static void check(int good, const char *what)
{
    if (!good) {
        perror(what);
        exit(1);
    }
}

int main(int argc, char **argv)
{
    struct sockaddr_in to = { .sin_family = AF_INET };
    long long left;
    int fd, get;
    ssize_t count;
    char line[32];

    if (argc != 5) {
        fprintf(stderr, "usage: stream get|put ADDRESS PORT MIB\n");
        return 2;
    }
    get = strcmp(argv[1], "get") == 0;
    to.sin_port = htons(atoi(argv[3]));
    check(inet_pton(AF_INET, argv[2], &to.sin_addr) == 1, argv[2]);
    left = atoll(argv[4]) << 20;
    fd = socket(AF_INET, SOCK_STREAM, 0);
    check(fd >= 0, "socket");
    check(connect(fd, (struct sockaddr *)&to, sizeof to) == 0, "connect");
    snprintf(line, sizeof line, "%c%lld\n", get ? 'g' : 'p', left);
    check(write(fd, line, strlen(line)) == (ssize_t)strlen(line), "write");
    while (left > 0) {
        size_t part = left < BLOCK ? left : BLOCK;
        count = get ? read(fd, block, part) : write(fd, block, part);
        check(count > 0, get ? "read" : "write");
        left -= count;
    }
    if (!get)
        check(read(fd, block, 1) == 1, "the last read");
    return 0;
}
