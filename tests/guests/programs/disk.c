/*
 * disk read DEVICE MIB       reads from the start, a mebibyte at a time
 * disk write DEVICE MIB      writes from the start, a mebibyte at a time, and flushes
 * disk random DEVICE COUNT   reads COUNT blocks of 4 KiB from all over the device
 * disk records FILE          appends numbered blocks for ever; says each number once it is flushed
 *
 * The first three go past the guest's page cache, so they measure the device and its driver, and
 * print their rate by the guest's own clock.
 */
#define _GNU_SOURCE
#define _FILE_OFFSET_BITS 64
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CHUNK (1 << 20)
#define BLOCK 4096

static void fail(const char *what)
{
	fprintf(stderr, "disk: %s: %s\n", what, strerror(errno));
	exit(1);
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

/* Whole transfers only: a device that comes to its end too early is an error. */
static void transfer(int fd, char *buffer, size_t bytes, off_t at, int write)
{
	ssize_t done = write ? pwrite(fd, buffer, bytes, at) : pread(fd, buffer, bytes, at);

	if (done < 0)
		fail(write ? "write" : "read");
	if ((size_t)done != bytes) {
		fprintf(stderr, "disk: %zd of %zu bytes at %lld\n", done, bytes, (long long)at);
		exit(1);
	}
}

static void sequential(int fd, char *buffer, long count, int write)
{
	double start = now();

	for (long i = 0; i < count; i++) {
		if (write)
			memset(buffer, (int)i, BLOCK);
		transfer(fd, buffer, CHUNK, (off_t)i * CHUNK, write);
	}
	if (write && fsync(fd) != 0)
		fail("fsync");
	printf("disk: %.1f MiB/s\n", count / (now() - start));
}

static void random_reads(int fd, char *buffer, long count)
{
	off_t size = lseek(fd, 0, SEEK_END);
	uint32_t blocks = size / BLOCK;
	uint32_t state = 2463534242u;

	if (size < BLOCK)
		fail("size");
	double start = now();
	for (long i = 0; i < count; i++) {
		state ^= state << 13;
		state ^= state >> 17;
		state ^= state << 5;
		transfer(fd, buffer, BLOCK, (off_t)(state % blocks) * BLOCK, 0);
	}
	printf("disk: %.0f reads/s\n", count / (now() - start));
}

static void records(int fd)
{
	uint32_t block[BLOCK / 4];

	for (uint32_t number = 0;; number++) {
		for (int i = 0; i < BLOCK / 4; i++)
			block[i] = number * 2654435761u + i;
		block[0] = number;
		if (write(fd, block, BLOCK) != BLOCK)
			fail("write");
		if (fsync(fd) != 0)
			fail("fsync");
		printf("flushed %u.\n", number);
		fflush(stdout);
	}
}

int main(int argc, char **argv)
{
	const char *work = argc > 2 ? argv[1] : "";
	long count = argc > 3 ? atol(argv[3]) : 0;
	int write = strcmp(work, "write") == 0;
	void *buffer;

	if (argc == 3 && strcmp(work, "records") == 0) {
		int fd = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC, 0644);

		if (fd < 0)
			fail(argv[2]);
		records(fd);
	}
	if (count <= 0 || posix_memalign(&buffer, CHUNK, CHUNK) != 0) {
		fprintf(stderr, "usage: disk read|write|random DEVICE COUNT | disk records FILE\n");
		return 2;
	}
	memset(buffer, 0, CHUNK);
	int fd = open(argv[2], (write ? O_RDWR : O_RDONLY) | O_DIRECT);

	if (fd < 0)
		fail(argv[2]);
	if (write || strcmp(work, "read") == 0)
		sequential(fd, buffer, count, write);
	else
		random_reads(fd, buffer, count);
	return 0;
}
