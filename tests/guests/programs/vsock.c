/*
 * vsock: one end of a stream over a virtio socket.
 *
 *   vsock echo PORT COUNT          takes COUNT connections at once and sends back what comes in
 *   vsock cat CID PORT             connects; standard input goes there, what comes back is printed
 *   vsock many CID PORT N BYTES    N connections at once, each sends BYTES and checks their echo
 *   vsock cid                      prints this machine's context identifier
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <linux/vm_sockets.h>

#define MOST 1024
#define CHUNK 16384

static void fail(const char *what)
{
	fprintf(stderr, "vsock: %s: %s\n", what, strerror(errno));
	exit(1);
}

static struct sockaddr_vm address(unsigned cid, unsigned port)
{
	struct sockaddr_vm to;

	memset(&to, 0, sizeof(to));
	to.svm_family = AF_VSOCK;
	to.svm_cid = cid;
	to.svm_port = port;
	return to;
}

static int reach(unsigned cid, unsigned port)
{
	struct sockaddr_vm to = address(cid, port);
	int fd = socket(AF_VSOCK, SOCK_STREAM, 0);

	if (fd < 0)
		fail("socket");
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		fail("connect");
	return fd;
}

static void put(int fd, const char *bytes, size_t count)
{
	while (count > 0) {
		ssize_t sent = write(fd, bytes, count);

		if (sent < 0)
			fail("write");
		bytes += sent;
		count -= sent;
	}
}

/* One process for each connection keeps this short. */
static int echo(unsigned port, int count)
{
	struct sockaddr_vm own = address(VMADDR_CID_ANY, port);
	int listener = socket(AF_VSOCK, SOCK_STREAM, 0);

	if (listener < 0)
		fail("socket");
	if (bind(listener, (struct sockaddr *)&own, sizeof(own)) < 0 || listen(listener, MOST) < 0)
		fail("listen");
	printf("vsock: listening on port %u\n", port);
	fflush(stdout);
	for (int taken = 0; taken < count; taken++) {
		int fd = accept(listener, NULL, NULL);

		if (fd < 0)
			fail("accept");
		if (fork() == 0) {
			char bytes[CHUNK];
			ssize_t got;

			close(listener);
			while ((got = read(fd, bytes, sizeof(bytes))) > 0)
				put(fd, bytes, got);
			exit(got < 0);
		}
		close(fd);
	}
	return 0;
}

static int cat(unsigned cid, unsigned port)
{
	int fd = reach(cid, port);
	struct pollfd ends[2] = { { 0, POLLIN, 0 }, { fd, POLLIN, 0 } };
	char bytes[CHUNK];
	ssize_t got;

	for (;;) {
		if (poll(ends, 2, -1) < 0)
			fail("poll");
		if (ends[0].revents) {
			got = read(0, bytes, sizeof(bytes));
			if (got > 0) {
				put(fd, bytes, got);
			} else {
				shutdown(fd, SHUT_WR);
				ends[0].fd = -1;
			}
		}
		if (ends[1].revents) {
			got = read(fd, bytes, sizeof(bytes));
			if (got < 0)
				fail("read");
			if (got == 0)
				return 0;
			put(1, bytes, got);
		}
	}
}

static char pattern(int connection, long at)
{
	return (char)(connection * 7 + at * 31 + (at >> 8));
}

/* Sends and receives at the same time: an echo would block on one that only sends. */
static int many(unsigned cid, unsigned port, int count, long length)
{
	static struct pollfd ends[MOST];
	static long sent[MOST], got[MOST];
	int left = count;
	char bytes[CHUNK];

	if (count < 1 || count > MOST) {
		fprintf(stderr, "vsock: at most %d connections\n", MOST);
		return 2;
	}
	for (int i = 0; i < count; i++) {
		ends[i].fd = reach(cid, port);
		ends[i].events = POLLIN | POLLOUT;
		fcntl(ends[i].fd, F_SETFL, O_NONBLOCK);
	}
	while (left > 0) {
		if (poll(ends, count, -1) < 0)
			fail("poll");
		for (int i = 0; i < count; i++) {
			if (ends[i].revents & POLLOUT) {
				long want = length - sent[i];
				ssize_t done;

				if (want > CHUNK)
					want = CHUNK;
				for (long n = 0; n < want; n++)
					bytes[n] = pattern(i, sent[i] + n);
				done = want ? write(ends[i].fd, bytes, want) : 0;
				if (done > 0)
					sent[i] += done;
				else if (want && errno != EAGAIN)
					fail("write");
				if (sent[i] == length) {
					shutdown(ends[i].fd, SHUT_WR);
					ends[i].events = POLLIN;
				}
			}
			if (ends[i].revents & (POLLIN | POLLHUP | POLLERR)) {
				ssize_t done = read(ends[i].fd, bytes, sizeof(bytes));

				if (done < 0 && errno == EAGAIN)
					continue;
				if (done < 0)
					fail("read");
				for (ssize_t n = 0; n < done; n++) {
					if (bytes[n] != pattern(i, got[i] + n)) {
						printf("vsock: connection %d differs at %ld\n",
						       i, got[i] + (long)n);
						return 1;
					}
				}
				got[i] += done;
				if (done == 0) {
					if (got[i] != length) {
						printf("vsock: connection %d ended at %ld\n",
						       i, got[i]);
						return 1;
					}
					close(ends[i].fd);
					ends[i].fd = -1;
					ends[i].events = 0;
					left--;
				}
			}
		}
	}
	printf("vsock: %d connections echoed %ld bytes each\n", count, length);
	return 0;
}

static int own_cid(void)
{
	unsigned cid = 0;
	int fd = open("/dev/vsock", O_RDONLY);

	if (fd < 0)
		fail("/dev/vsock");
	if (ioctl(fd, IOCTL_VM_SOCKETS_GET_LOCAL_CID, &cid) < 0)
		fail("ioctl");
	printf("vsock: cid %u\n", cid);
	return 0;
}

int main(int argc, char **argv)
{
	unsigned long n[4] = { 0 };

	for (int i = 2; i < argc && i < 6; i++)
		n[i - 2] = strtoul(argv[i], NULL, 0);
	if (argc == 4 && !strcmp(argv[1], "echo"))
		return echo(n[0], n[1]);
	if (argc == 4 && !strcmp(argv[1], "cat"))
		return cat(n[0], n[1]);
	if (argc == 6 && !strcmp(argv[1], "many"))
		return many(n[0], n[1], n[2], n[3]);
	if (argc == 2 && !strcmp(argv[1], "cid"))
		return own_cid();
	fprintf(stderr, "usage: vsock echo PORT COUNT | cat CID PORT | many CID PORT N BYTES | cid\n");
	return 2;
}
