/* setjmp and longjmp, with registers and floats that must come back; and out of signal handlers. */
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>

static jmp_buf place;
static sigjmp_buf signal_place;

static __attribute__((noinline)) void deep(int depth, int value)
{
    volatile char frame[128];
    frame[depth % 128] = (char)depth;
    if (depth > 0) {
        deep(depth - 1, value);
        frame[0]++;
    } else if (value) {
        longjmp(place, value);
    }
}

static void handler(int number)
{
    siglongjmp(signal_place, number);
}

int main(void)
{
    volatile double pi = 3.25;
    for (volatile int round = 0; round < 20; round++) {
        volatile int before = round * 3;
        int got = setjmp(place);
        if (got == 0)
            deep(round * 7, round + 1);
        printf("round %d got %d before %d pi %g\n", round, got, before, pi * round);
    }
    printf("longjmp with 0 gives %d\n", ({
        static volatile int first;
        first = 1;
        int got = setjmp(place);
        if (first) {
            first = 0;
            longjmp(place, 0);
        }
        got;
    }));
    signal(SIGUSR1, handler);
    signal(SIGUSR2, handler);
    for (volatile int round = 0; round < 10; round++) {
        volatile int number = round & 1 ? SIGUSR1 : SIGUSR2;
        int got = sigsetjmp(signal_place, 1);
        if (got == 0)
            raise(number);
        printf("signal %s\n", got == number ? "came" : "is wrong");
    }
    return 0;
}
