/*
 * forkexec [COUNT [PROGRAM]]: starts PROGRAM (/bin/true) COUNT times (500), one after the other, with
 * fork and exec, and prints how long that took by the guest's own clock. Each round changes the
 * address space four times and refills the TLB, which is what this measures.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int count = argc > 1 ? atoi(argv[1]) : 500;
	const char *program = argc > 2 ? argv[2] : "/bin/true";
	struct timespec start, end;

	clock_gettime(CLOCK_MONOTONIC, &start);
	for (int i = 0; i < count; i++) {
		int status;
		pid_t child = fork();

		if (child == 0) {
			execl(program, "true", (char *)NULL);
			_exit(127);
		}
		if (child < 0 || waitpid(child, &status, 0) != child || status != 0) {
			fprintf(stderr, "forkexec: round %d failed\n", i);
			return 1;
		}
	}
	clock_gettime(CLOCK_MONOTONIC, &end);

	long ms = (end.tv_sec - start.tv_sec) * 1000 + (end.tv_nsec - start.tv_nsec) / 1000000;
	printf("forkexec: %d rounds in %ld ms\n", count, ms);
	return 0;
}
