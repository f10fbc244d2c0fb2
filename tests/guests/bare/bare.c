/* The part of the guests that is the same in each: see bare.h. */
#include "bare.h"

struct frame start_of_run, end;
hook *hooks[16];
u32 taken[64], taken_count;
extern u32 run_stack;
void run_from(const struct frame *);

static int failed, skipped;
static const char *test_name;
static const char *detail_name;
static u32 detail;

/* UART0: transmitter and line status. */
#define THR 0xEF600300
#define LSR 0xEF600305

static void put(char c)
{
    while (!(load8(LSR) & 0x20))
        ;
    store8(THR, c);
}

void print(const char *text)
{
    for (; *text; text++)
        put(*text);
}

void print_hex(u32 value)
{
    print("0x");
    for (int shift = 28; shift >= 0; shift -= 4)
        put("0123456789ABCDEF"[value >> shift & 15]);
}

void at(const char *what, u32 value)
{
    detail_name = what;
    detail = value;
}

void skip(void)
{
    skipped = 1;
}

void expect(const char *what, u32 got, u32 want)
{
    if (got == want || failed++)
        return;
    print("FAIL ");
    print(test_name);
    print(": ");
    print(what);
    print(" is ");
    print_hex(got);
    print(", not ");
    print_hex(want);
    if (detail_name) {
        print(" at ");
        print(detail_name);
        print(" ");
        print_hex(detail);
    }
    print("\n");
}

/* Called by the vectors: 1 resumes, 0 ends the run. */
int interrupt(struct frame *frame)
{
    if (!run_stack) {
        print("FAIL unexpected interrupt ");
        print_hex(frame->vector);
        print(" at ");
        print_hex(frame->pc);
        print("\n");
        system_reset();
    }
    if (taken_count < 64)
        taken[taken_count] = frame->vector;
    taken_count++;
    if (hooks[frame->vector] && taken_count < 1000 && hooks[frame->vector](frame))
        return 1;
    end = *frame;
    return 0;
}

int run(const void *code, u32 msr)
{
    start_of_run.pc = (u32)code;
    start_of_run.msr = msr;
    taken_count = 0;
    mtspr(CSRR0, OLD_CSRR0);
    mtspr(CSRR1, OLD_CSRR1);
    mtspr(MCSRR0, OLD_MCSRR0);
    mtspr(MCSRR1, OLD_MCSRR1);
    mtspr(ESR, OLD_ESR);
    mtspr(DEAR, OLD_DEAR);
    run_from(&start_of_run);
    run_stack = 0;
    for (u32 n = 0; n < sizeof start_of_run / 4; n++)
        ((u32 *)&start_of_run)[n] = 0;
    return end.vector;
}

void run_to_end(const void *code, u32 msr)
{
    expect("the interrupt that ends it", run(code, msr), SYSTEM_CALL);
}

void expect_non_critical(int vector, const void *pc, u32 msr)
{
    expect("the interrupt", end.vector, vector);
    expect("SRR0", end.pc, (u32)pc);
    expect("SRR1", end.msr, msr);
    expect("MSR in the handler", end.handler_msr, msr & (MSR_CE | MSR_ME | MSR_DE));
    expect("CSRR0", end.csrr[0], OLD_CSRR0);
    expect("CSRR1", end.csrr[1], OLD_CSRR1);
    expect("MCSRR0", end.mcsrr[0], OLD_MCSRR0);
    expect("MCSRR1", end.mcsrr[1], OLD_MCSRR1);
}

void expect_critical(int vector, const void *pc, u32 msr)
{
    expect("the interrupt", end.vector, vector);
    expect("CSRR0", end.pc, (u32)pc);
    expect("CSRR1", end.msr, msr);
    expect("MSR in the handler", end.handler_msr, msr & MSR_ME);
    expect("MCSRR0", end.mcsrr[0], OLD_MCSRR0);
    expect("MCSRR1", end.mcsrr[1], OLD_MCSRR1);
}

void expect_taken(u32 count, const u8 *vectors)
{
    expect("the number of interrupts", taken_count, count);
    for (u32 n = 0; n < count && n < taken_count && n < 64; n++) {
        at("interrupt number", n);
        expect("its kind", taken[n], vectors[n]);
    }
}

void tlbwe0(u32 index, u32 value) { asm volatile("tlbwe %0, %1, 0; isync" : : "r"(value), "r"(index) : "memory"); }
void tlbwe1(u32 index, u32 value) { asm volatile("tlbwe %0, %1, 1; isync" : : "r"(value), "r"(index) : "memory"); }
void tlbwe2(u32 index, u32 value) { asm volatile("tlbwe %0, %1, 2; isync" : : "r"(value), "r"(index) : "memory"); }
u32 tlbre0(u32 index) { u32 v; asm volatile("tlbre %0, %1, 0" : "=r"(v) : "r"(index) : "memory"); return v; }
u32 tlbre1(u32 index) { u32 v; asm volatile("tlbre %0, %1, 1" : "=r"(v) : "r"(index) : "memory"); return v; }
u32 tlbre2(u32 index) { u32 v; asm volatile("tlbre %0, %1, 2" : "=r"(v) : "r"(index) : "memory"); return v; }

void tlb_set_tid(u32 index, u32 ea, u32 size, u32 real, u32 word2, u32 tid)
{
    mtspr(MMUCR, tid);
    tlbwe0(index, 0);
    tlbwe1(index, real);
    tlbwe2(index, word2);
    tlbwe0(index, ea | TLB_V | size);
}

void tlb_set(u32 index, u32 ea, u32 size, u32 real, u32 word2)
{
    tlb_set_tid(index, ea, size, real, word2, 0);
}

void tlb_clear(u32 index)
{
    mtspr(MMUCR, 0);
    tlbwe0(index, 0);
}

void tlb_clear_all(void)
{
    for (u32 index = 0; index < 60; index++)
        tlb_clear(index);
}

void copy_code(u32 to, const u32 *code, u32 words)
{
    for (u32 n = 0; n < words; n++) {
        store32(to + 4 * n, code[n]);
        asm volatile("dcbst 0, %0; msync; icbi 0, %0; msync; isync" : : "r"(to + 4 * n) : "memory");
    }
}

void fill(u32 address, u32 bytes, u8 first)
{
    while (bytes--)
        store8(address++, first++);
}

/* What the compiler may call. */
void *memcpy(void *to, const void *from, unsigned long bytes)
{
    volatile u8 *t = to;
    const u8 *f = from;
    while (bytes--)
        *t++ = *f++;
    return to;
}

void *memset(void *to, int value, unsigned long bytes)
{
    volatile u8 *t = to;
    while (bytes--)
        *t++ = value;
    return to;
}

/* As before each test: nothing hooked, mapped, pending or armed. */
static void put_back(void)
{
    for (int n = 0; n < 16; n++)
        hooks[n] = 0;
    detail_name = 0;
    tlb_clear_all();
    mtspr(PID, 0);
    mtspr(TCR, mfspr(TCR) & ~(TCR_WIE | TCR_DIE | TCR_FIE | TCR_ARE));
    mtspr(DEC, 0);
    mtspr(TSR, TSR_DIS | TSR_FIS | TSR_ENW | TSR_WIS);
    mtspr(DBCR0, 0);
    mtspr(DBSR, 0xFFFFFFFF);
    mtspr(MCSR, 0xFFFFFFFF);
    mtspr(ESR, 0);
}

void __attribute__((weak)) finish(void)
{
    system_reset();
}

int main(void)
{
    u32 count = 0;
    for (const struct test *test = tests; test->name; test++) {
        put_back();
        test_name = test->name;
        failed = skipped = 0;
        test->run();
        if (skipped)
            continue;
        if (!failed) {
            print("PASS ");
            print(test_name);
            print("\n");
        }
        count++;
    }
    put_back();
    print("DONE ");
    print_hex(count);
    print("\n");
    finish();
}
