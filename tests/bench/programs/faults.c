/*
 * faults [COUNT]: maps 1024 fresh pages, writes to each and gives them back, COUNT times (100): as
 * many page faults, each with a page to clear.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#ifndef MADV_NOHUGEPAGE
#define MADV_NOHUGEPAGE 15
#endif

int main(int argc, char **argv)
{
	int count = argc > 1 ? atoi(argv[1]) : 100;
	enum { PAGE = 4096, PAGES = 1024 };

	for (int n = 0; n < count; n++) {
		unsigned char *pages = mmap(NULL, PAGE * PAGES, PROT_READ | PROT_WRITE,
					    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (pages == MAP_FAILED) {
			perror("faults: mmap");
			return 1;
		}
		/* A kernel without huge pages refuses this, and needs it not. */
		madvise(pages, PAGE * PAGES, MADV_NOHUGEPAGE);
		for (int page = 0; page < PAGES; page++)
			pages[PAGE * page] = n;
		munmap(pages, PAGE * PAGES);
	}
	printf("faults: %d pages\n", count * PAGES);
	return 0;
}
