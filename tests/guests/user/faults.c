/* Memory that a handler makes accessible, page by page, while it is used in every way. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PAGES 64
static char *area;
static volatile int loads, stores, order[PAGES * 2], count;
static unsigned char state[PAGES];

static void handler(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)context;
    int page = ((char *)info->si_addr - area) / 4096;
    if (page < 0 || page >= PAGES)
        abort();
    if (count < PAGES * 2)
        order[count++] = page;
    if (state[page] == 0) {
        /* The first touch gives reading, the next writing. */
        loads++;
        state[page] = 1;
        mprotect(area + page * 4096, 4096, PROT_READ);
    } else {
        stores++;
        state[page] = 2;
        mprotect(area + page * 4096, 4096, PROT_READ | PROT_WRITE);
    }
}

/* lmw, stmw, lswi and stswi over the address given. */
uint32_t multiples_and_strings(char *border);
asm("multiples_and_strings:\n"
    "stwu 1,-48(1)\n stmw 27,16(1)\n"
    "lis 28,0x1111\n lis 29,0x2222\n lis 30,0x3333\n lis 31,0x4444\n stmw 28,-8(3)\n"
    "li 28,0\n li 29,0\n li 30,0\n li 31,0\n lmw 28,-8(3)\n"
    "add 4,28,29\n add 4,4,30\n add 4,4,31\n"
    "addi 27,3,-5\n stswi 28,27,11\n lswi 28,27,11\n xor 4,4,28\n xor 3,4,30\n"
    "lmw 27,16(1)\n addi 1,1,48\n blr");

static void forget(void)
{
    mprotect(area, PAGES * 4096, PROT_NONE);
    memset(state, 0, sizeof state);
    loads = stores = count = 0;
}

int main(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = handler;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGSEGV, &action, NULL);
    area = mmap(NULL, PAGES * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    for (int page = 0; page < PAGES; page += 3)
        area[page * 4096 + page] = (char)page;
    printf("bytes: %d %d\n", loads, stores);
    forget();
    uint32_t sum = 0;
    for (int page = 1; page < PAGES; page++) {
        /* Words over the border of two pages. */
        *(volatile uint32_t *)(area + page * 4096 - 2) = 0x01020304u * page;
        sum += *(volatile uint32_t *)(area + page * 4096 - 1);
    }
    printf("words over borders: %d %d %08x\n", loads, stores, sum);
    forget();
    memset(area + 5000, 0x33, 100000);
    printf("memset: %d %d first %d\n", loads, stores, order[0]);
    forget();
    memmove(area + 8190, area + 4090, 50000);
    uint32_t hash = 5381;
    for (int n = 0; n < PAGES * 4096; n += 97)
        hash = hash * 33 + (unsigned char)area[n];
    printf("memmove: %08x\n", hash);
    forget();
    volatile double *floats = (volatile double *)(area + 4096 * 7);
    for (int n = 0; n < 2000; n++)
        floats[n] = n * 0.5;
    double total = 0;
    for (int n = 0; n < 2000; n++)
        total += floats[n];
    printf("doubles: %d %d %g\n", loads, stores, total);
    forget();
    uint32_t got = multiples_and_strings(area + 20 * 4096);
    printf("multiples and strings: %08x %d %d\n", got, loads, stores);
    /* Files and sharing. */
    FILE *file = tmpfile();
    for (int n = 0; n < 5000; n++)
        fprintf(file, "line %d\n", n);
    fflush(file);
    char *map = mmap(NULL, 40000, PROT_READ, MAP_SHARED, fileno(file), 0);
    hash = 5381;
    for (int n = 0; n < 40000; n++)
        hash = hash * 33 + (unsigned char)map[n];
    printf("file: %08x\n", hash);
    return 0;
}
