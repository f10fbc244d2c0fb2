/* getppid [COUNT]: COUNT system calls (1000000) that do next to nothing. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int count = argc > 1 ? atoi(argv[1]) : 1000000;
	int parent = getppid(), right = 0;

	/* Not the C library's function, which may remember the answer. */
	for (int n = 0; n < count; n++)
		right += syscall(SYS_getppid) == parent;
	printf("getppid: %d calls\n", right);
	return right == count ? 0 : 1;
}
