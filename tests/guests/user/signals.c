/* Signals: their codes, masks, nesting, alternate stacks, registers over a handler. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

static sigjmp_buf place;
static volatile int seen[65], code, on_alternate;
static char *alternate;
static char *volatile fault;

static void note(int number, siginfo_t *info, void *context)
{
    (void)context;
    char here;
    seen[number]++;
    code = info->si_code;
    fault = info->si_addr;
    on_alternate = &here >= alternate && &here < alternate + 65536;
    if (number == SIGSEGV || number == SIGILL || number == SIGBUS || number == SIGFPE)
        siglongjmp(place, number);
}

static void nested(int number)
{
    seen[number]++;
    if (number == SIGUSR1)
        raise(SIGUSR2);
    printf("%s ends\n", number == SIGUSR1 ? "outer" : "inner");
}

int main(void)
{
    struct sigaction action;
    alternate = malloc(65536);
    stack_t stack = { .ss_sp = alternate, .ss_size = 65536 };
    printf("sigaltstack %d\n", sigaltstack(&stack, NULL));
    memset(&action, 0, sizeof action);
    action.sa_sigaction = note;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGILL, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGHUP, &action, NULL);

    char *page = mmap(NULL, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(page + 4096, 4096);
    if (sigsetjmp(place, 1) == 0)
        *(volatile char *)(page + 100) = 1;
    /* Not its code: SEGV_ACCERR, but qemu-ppc gives SEGV_MAPERR. */
    printf("store to what is read only: %d at %d alternate %d\n", seen[SIGSEGV],
           (int)(fault - page), on_alternate);
    if (sigsetjmp(place, 1) == 0)
        seen[0] += *(volatile char *)(page + 4096 + 50);
    printf("load from nothing: %d code %d at %d\n", seen[SIGSEGV], code == SEGV_MAPERR, (int)(fault - page));
    if (sigsetjmp(place, 1) == 0)
        seen[0] += *(volatile int *)(page + 4094);
    printf("load over the end: %d at %d\n", seen[SIGSEGV], (int)(fault - page));
    if (sigsetjmp(place, 1) == 0)
        asm volatile(".long 0");
    printf("an illegal instruction: %d\n", seen[SIGILL]);
    if (sigsetjmp(place, 1) == 0)
        asm volatile("mfmsr 3" : : : "r3");
    printf("a privileged instruction: %d\n", seen[SIGILL]);
    raise(SIGTERM);
    printf("on the alternate stack: %d %d\n", seen[SIGTERM], on_alternate);
    raise(SIGHUP);
    printf("not on it: %d %d\n", seen[SIGHUP], on_alternate);

    sigset_t block, pending;
    sigemptyset(&block);
    sigaddset(&block, SIGHUP);
    sigprocmask(SIG_BLOCK, &block, NULL);
    raise(SIGHUP);
    raise(SIGHUP);
    sigpending(&pending);
    printf("blocked: %d pending %d\n", seen[SIGHUP], sigismember(&pending, SIGHUP));
    sigprocmask(SIG_UNBLOCK, &block, NULL);
    printf("then: %d\n", seen[SIGHUP]);

    signal(SIGUSR1, nested);
    signal(SIGUSR2, nested);
    raise(SIGUSR1);
    printf("nested %d %d\n", seen[SIGUSR1], seen[SIGUSR2]);

    /* Floats and integers in registers over many handlers. */
    double x = 1;
    uint32_t n = 1;
    for (int round = 0; round < 100; round++) {
        x = x * 1.0625 + 0.5;
        n = n * 1664525 + 1013904223;
        kill(getpid(), SIGHUP);
    }
    printf("%a %08x %d\n", x, n, seen[SIGHUP]);
    return 0;
}
