/*
 * pingpong [COUNT]: two processes pass a byte back and forth COUNT times (20000) through two pipes,
 * both on one processor, so that each pass is a system call, a switch of context and a wake-up.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

int main(int argc, char **argv)
{
	int count = argc > 1 ? atoi(argv[1]) : 20000;
	int there[2], back[2], status;
	unsigned char byte = 0;
	cpu_set_t first;
	pid_t child;

	CPU_ZERO(&first);
	CPU_SET(0, &first);
	if (sched_setaffinity(0, sizeof first, &first))
		fail("pingpong: one processor");
	if (pipe(there) || pipe(back))
		fail("pingpong: pipe");
	child = fork();
	if (child < 0)
		fail("pingpong: fork");
	if (child == 0) {
		close(there[1]);
		close(back[0]);
		while (read(there[0], &byte, 1) == 1) {
			byte++;
			if (write(back[1], &byte, 1) != 1)
				_exit(1);
		}
		_exit(0);
	}
	close(there[0]);
	close(back[1]);
	for (int n = 0; n < count; n++)
		if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
			fail("pingpong: passing");
	close(there[1]);
	if (waitpid(child, &status, 0) != child || status || byte != (unsigned char)count)
		return 1;
	printf("pingpong: %d times\n", count);
	return 0;
}
