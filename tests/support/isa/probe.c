/* A user program that runs instructions from given states and reports the states that follow.
 *
 * It lives in its signal handler. Each `trap` that ends a job, and each fault in one, arrives
 * there with all registers in the signal frame: the handler reports them, reads the next job,
 * writes its state into the same frame, and returns into it. Nothing of libc is used, because a
 * job owns every register, the ones that libc reserves included.
 *
 * Standard input, all words big-endian: number of code words, the code; GPR0-31, CR, XER, LR, CTR,
 * FPSCR, FPR0-31; number of windows; for each its address, its length in bytes (a multiple of 4)
 * and its bytes. Standard output: signal, its code, its address, the address where it happened;
 * the registers as above; the windows' bytes. The end of the input ends the program.
 *
 * Pages: see `PAGES` below and the text in `cases.rs`. The code page is filled with `trap`, so
 * every way out of a job ends in the handler.
 */
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>

#define CODE 0x01000000u
#define CODE_WORDS 1024u
#define TRAP 0x7FE00008u
#define WINDOWS 8
#define WINDOW_WORDS 256

struct page {
    uint32_t at, bytes, writable;
};

static const struct page PAGES[] = {
    {0x00007000, 0x1000, 1}, {CODE, 0x1000, 1}, {0x20000000, 0x2000, 1}, {0x20003000, 0x1000, 0},
};

struct registers {
    uint32_t gpr[32], cr, xer, lr, ctr, fpscr;
    uint64_t fpr[32];
} __attribute__((packed, aligned(4)));

struct window {
    uint32_t at, bytes;
};

static uint32_t stack[4096];
static struct window windows[WINDOWS];
static uint32_t window_count;
static int running;

static long call(long number, long a, long b, long c, long d, long e, long f)
{
    register long r0 __asm__("r0") = number;
    register long r3 __asm__("r3") = a;
    register long r4 __asm__("r4") = b;
    register long r5 __asm__("r5") = c;
    register long r6 __asm__("r6") = d;
    register long r7 __asm__("r7") = e;
    register long r8 __asm__("r8") = f;
    __asm__ volatile("sc\n\tbns+ 1f\n\tneg 3,3\n1:"
                     : "+r"(r0), "+r"(r3), "+r"(r4), "+r"(r5), "+r"(r6), "+r"(r7), "+r"(r8)
                     :
                     : "r9", "r10", "r11", "r12", "cr0", "ctr", "xer", "lr", "memory");
    return r3;
}

static void leave(int status)
{
    for (;;)
        call(SYS_exit_group, status, 0, 0, 0, 0, 0);
}

static void get(void *to, uint32_t bytes)
{
    uint8_t *at = to;
    while (bytes) {
        long n = call(SYS_read, 0, (long)at, bytes, 0, 0, 0);
        if (n <= 0)
            leave(n == 0 ? 0 : 3);
        at += n;
        bytes -= n;
    }
}

static void put(const void *from, uint32_t bytes)
{
    const uint8_t *at = from;
    while (bytes) {
        long n = call(SYS_write, 1, (long)at, bytes, 0, 0, 0);
        if (n <= 0)
            leave(4);
        at += n;
        bytes -= n;
    }
}

static uint32_t get_word(void)
{
    uint32_t word;
    get(&word, 4);
    return word;
}

static void copy(volatile uint32_t *to, const volatile uint32_t *from, uint32_t words)
{
    while (words--)
        *to++ = *from++;
}

/* A read-only page is opened for the time that its bytes are replaced. */
static void allow(uint32_t at, int writable)
{
    for (unsigned i = 0; i < sizeof PAGES / sizeof *PAGES; i++)
        if (!PAGES[i].writable && at - PAGES[i].at < PAGES[i].bytes)
            call(SYS_mprotect, PAGES[i].at, PAGES[i].bytes,
                 PROT_READ | (writable ? PROT_WRITE : 0), 0, 0, 0);
}

static void report(int signal, const siginfo_t *info, const mcontext_t *frame)
{
    static uint32_t buffer[WINDOW_WORDS];
    struct registers now;
    const uint32_t head[4] = {signal, info->si_code, (uint32_t)info->si_addr, frame->gregs[32]};
    for (int n = 0; n < 32; n++)
        now.gpr[n] = frame->gregs[n];
    copy((uint32_t *)now.fpr, (const uint32_t *)frame->fpregs.fpregs, 64);
    now.cr = frame->gregs[38];
    now.xer = frame->gregs[37];
    now.lr = frame->gregs[36];
    now.ctr = frame->gregs[35];
    now.fpscr = ((const uint32_t *)&frame->fpregs.fpscr)[1];
    put(head, sizeof head);
    put(&now, sizeof now);
    for (uint32_t n = 0; n < window_count; n++) {
        copy(buffer, (volatile uint32_t *)windows[n].at, windows[n].bytes / 4);
        put(buffer, windows[n].bytes);
    }
}

static void next_job(mcontext_t *frame)
{
    static uint32_t code[CODE_WORDS], used;
    static uint32_t buffer[WINDOW_WORDS];
    struct registers start;
    uint32_t words = get_word();
    if (words >= CODE_WORDS)
        leave(5);
    get(code, 4 * words);
    for (uint32_t n = words; n < used; n++)
        code[n] = TRAP;
    copy((volatile uint32_t *)CODE, code, used > words ? used : words);
    used = words;
    get(&start, sizeof start);
    for (int n = 0; n < 32; n++)
        frame->gregs[n] = start.gpr[n];
    copy((uint32_t *)frame->fpregs.fpregs, (const uint32_t *)start.fpr, 64);
    frame->gregs[38] = start.cr;
    frame->gregs[37] = start.xer;
    frame->gregs[36] = start.lr;
    frame->gregs[35] = start.ctr;
    frame->gregs[32] = CODE;
    const uint32_t fpscr_frame[2] = {0, start.fpscr};
    copy((uint32_t *)&frame->fpregs.fpscr, fpscr_frame, 2);
    window_count = get_word();
    if (window_count > WINDOWS)
        leave(6);
    for (uint32_t n = 0; n < window_count; n++) {
        get(&windows[n], sizeof windows[n]);
        if (windows[n].bytes > sizeof buffer)
            leave(7);
        get(buffer, windows[n].bytes);
        allow(windows[n].at, 1);
        copy((volatile uint32_t *)windows[n].at, buffer, windows[n].bytes / 4);
        allow(windows[n].at, 0);
    }
    /* Not every kernel makes the frame's rounding mode effective, so it is set here as well. */
    union {
        uint64_t bits;
        double value;
    } fpscr = {start.fpscr & 0x07u};
    __asm__ volatile("mtfsf 255,%0" : : "f"(fpscr.value));
}

static void handle(int signal, siginfo_t *info, void *context)
{
    ucontext_t *frame = context;
    if (running)
        report(signal, info, frame->uc_mcontext.uc_regs);
    running = 1;
    next_job(frame->uc_mcontext.uc_regs);
}

/* The kernel's own structure, which takes its flags before the mask. */
struct action {
    void (*handler)(int, siginfo_t *, void *);
    unsigned long flags;
    void (*restorer)(void);
    uint32_t mask[2];
};

void start_here(void)
{
    const int signals[] = {SIGTRAP, SIGSEGV, SIGILL, SIGFPE, SIGBUS};
    const struct action action = {handle, SA_SIGINFO | SA_ONSTACK | SA_NODEFER, 0, {0, 0}};
    const stack_t place = {.ss_sp = stack, .ss_size = sizeof stack, .ss_flags = 0};
    for (unsigned i = 0; i < sizeof PAGES / sizeof *PAGES; i++) {
        long at = call(SYS_mmap, PAGES[i].at, PAGES[i].bytes, PROT_READ | PROT_WRITE | PROT_EXEC,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        if ((uint32_t)at != PAGES[i].at)
            leave(2);
        allow(PAGES[i].at, 0);
    }
    for (uint32_t n = 0; n < CODE_WORDS; n++)
        ((volatile uint32_t *)CODE)[n] = TRAP;
    call(SYS_sigaltstack, (long)&place, 0, 0, 0, 0, 0);
    for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++)
        call(SYS_rt_sigaction, signals[i], (long)&action, 0, 8, 0, 0);
    __asm__ volatile("trap");
}

__asm__(".globl _start\n_start:\n\tli 0,0\n\tstwu 1,-64(1)\n\tbl start_here\n\ttrap\n");
