/* Interrupt controllers with their cascade, serial ports as sources, and the units behind DCRs. */
#include "bare.h"

/* DCRs of a UIC, from its first. */
#define UIC0 0xC0
#define UIC1 0xD0
#define SR_ 0
#define SRS_ 1
#define ER_ 2
#define CR_ 3
#define PR_ 4
#define TR_ 5
#define MSR_ 6
#define VR_ 7
#define VCR_ 8
#define get(uic, reg) mfdcr(uic + reg)
#define set(uic, reg, v) mtdcr(uic + reg, v)

#define INPUT(n) (0x80000000u >> (n))
/* Inputs without anything at them. */
#define FREE_A INPUT(16)
#define FREE_B INPUT(20)

/* UART1: input 1 of UIC0. */
#define UART1 0xEF600400
#define RBR 0
#define IER 1
#define IIR 2
#define LCR 3
#define MCR 4
#define LSR 5
#define SCR 7
#define UART1_INPUT INPUT(1)

#define MODE (MSR_ME | MSR_CE | MSR_EE | MSR_PR)

CODE(nothing, "nop\n nop\n");

static void quiet(void)
{
    store8(UART1 + IER, 0);
    store8(UART1 + MCR, 0);
    set(UIC0, ER_, 0);
    set(UIC1, ER_, 0);
    set(UIC0, CR_, 0);
    set(UIC1, CR_, 0);
    set(UIC0, PR_, 0xFFFFFFFF);
    set(UIC1, PR_, 0xFFFFFFFF);
    set(UIC0, TR_, 0xFFFFFFFF);
    set(UIC1, TR_, 0xFFFFFFFF);
    set(UIC1, SR_, 0xFFFFFFFF);
    set(UIC0, SR_, 0xFFFFFFFF);
}

static void expect_quiet(void)
{
    expect("nothing pends", run(nothing, MODE), SYSTEM_CALL);
}

static void registers_read_back(void)
{
    quiet();
    for (u32 n = 0; n < 4; n++) {
        static const u32 values[] = { 0xFFFFFFFF, 0, 0xA5A5A5A5, 0x5A5A5A5A };
        u32 value = values[n];
        at("value", value);
        set(UIC0, CR_, value);
        set(UIC0, VCR_, value);
        expect("CR", get(UIC0, CR_), value);
        expect("VCR", get(UIC0, VCR_), value & 0xFFFFFFFD);
        set(UIC1, ER_, value);
        set(UIC1, CR_, value);
        expect("ER of UIC1", get(UIC1, ER_), value);
        expect("CR of UIC1", get(UIC1, CR_), value);
    }
    set(UIC0, CR_, 0);
    quiet();
}

static void status_is_set_by_srs_and_cleared_by_ones(void)
{
    quiet();
    set(UIC0, SRS_, FREE_A | FREE_B);
    expect("SR", get(UIC0, SR_), FREE_A | FREE_B);
    expect("MSR without ER", get(UIC0, MSR_), 0);
    expect_quiet();
    set(UIC0, ER_, FREE_B);
    expect("MSR", get(UIC0, MSR_), FREE_B);
    set(UIC0, MSR_, 0xFFFFFFFF);
    expect("MSR cannot be written", get(UIC0, MSR_), FREE_B);
    set(UIC0, SR_, FREE_A);
    expect("SR", get(UIC0, SR_), FREE_B);
    expect("the interrupt", run(nothing, MODE), EXTERNAL_INPUT);
    set(UIC0, SR_, FREE_B);
    expect_quiet();
    quiet();
}

static void cr_chooses_the_output(void)
{
    quiet();
    set(UIC0, ER_, FREE_A | FREE_B);
    set(UIC0, CR_, FREE_A);
    set(UIC0, SRS_, FREE_A);
    expect("critical", run(nothing, MODE), CRITICAL_INPUT);
    set(UIC0, CR_, 0);
    expect("not critical", run(nothing, MODE), EXTERNAL_INPUT);
    set(UIC0, CR_, FREE_A);
    set(UIC0, SRS_, FREE_B);
    expect("the critical one of both", run(nothing, MODE), CRITICAL_INPUT);
    expect("without CE, the other", run(nothing, MODE & ~MSR_CE), EXTERNAL_INPUT);
    set(UIC0, SR_, FREE_A);
    expect("the one that is left", run(nothing, MODE), EXTERNAL_INPUT);
    quiet();
    expect_quiet();
}

static void the_vector_is_that_of_the_first_critical_input(void)
{
    quiet();
    set(UIC0, VCR_, 0x10000001); /* input 0 first */
    set(UIC0, ER_, FREE_A | FREE_B | INPUT(2));
    set(UIC0, CR_, FREE_A | FREE_B);
    set(UIC0, SRS_, FREE_A | FREE_B | INPUT(2));
    expect("from input 0", get(UIC0, VR_), 0x10000000 + 16 * 512);
    set(UIC0, VCR_, 0x10000000); /* input 31 first */
    expect("from input 31", get(UIC0, VR_), 0x10000000 + 11 * 512);
    set(UIC0, SR_, FREE_B);
    expect("the next", get(UIC0, VR_), 0x10000000 + 15 * 512);
    quiet();
    expect("none", get(UIC0, VR_), 0);
}

/* UART1's transmitter is empty: its interrupt line follows IER[THRI] until IIR is read. */
static void assert_line(void)
{
    store8(UART1 + IER, 0);
    store8(UART1 + IER, 2);
}

static void drop_line(void)
{
    store8(UART1 + IER, 0);
}

static void a_level_input_pends_as_long_as_its_line(void)
{
    quiet();
    set(UIC0, TR_, ~UART1_INPUT);
    set(UIC0, SR_, UART1_INPUT);
    expect("low", get(UIC0, SR_) & UART1_INPUT, 0);
    assert_line();
    expect("high", get(UIC0, SR_) & UART1_INPUT, UART1_INPUT);
    set(UIC0, SR_, UART1_INPUT);
    expect("a clear while it is high", get(UIC0, SR_) & UART1_INPUT, UART1_INPUT);
    set(UIC0, ER_, UART1_INPUT);
    expect("the interrupt", run(nothing, MODE), EXTERNAL_INPUT);
    drop_line();
    expect("latched", get(UIC0, SR_) & UART1_INPUT, UART1_INPUT);
    set(UIC0, SR_, UART1_INPUT);
    expect("a clear while it is low", get(UIC0, SR_) & UART1_INPUT, 0);
    expect_quiet();
    quiet();
}

static void an_edge_input_pends_once_per_edge(void)
{
    quiet();
    set(UIC0, SR_, UART1_INPUT);
    assert_line();
    expect("the edge", get(UIC0, SR_) & UART1_INPUT, UART1_INPUT);
    set(UIC0, SR_, UART1_INPUT);
    expect("a clear while it is high", get(UIC0, SR_) & UART1_INPUT, 0);
    drop_line();
    expect("the other edge", get(UIC0, SR_) & UART1_INPUT, 0);
    assert_line();
    expect("the next edge", get(UIC0, SR_) & UART1_INPUT, UART1_INPUT);
    drop_line();
    expect("it stays", get(UIC0, SR_) & UART1_INPUT, UART1_INPUT);
    quiet();
}

static void polarity_turns_level_and_edge_round(void)
{
    quiet();
    /* Active low, a level: the line at rest asserts. */
    set(UIC0, TR_, ~UART1_INPUT);
    set(UIC0, PR_, ~UART1_INPUT);
    expect("low asserts", get(UIC0, SR_) & UART1_INPUT, UART1_INPUT);
    assert_line();
    set(UIC0, SR_, UART1_INPUT);
    expect("high does not", get(UIC0, SR_) & UART1_INPUT, 0);
    drop_line();
    expect("low again", get(UIC0, SR_) & UART1_INPUT, UART1_INPUT);
    /* A falling edge. */
    set(UIC0, TR_, 0xFFFFFFFF);
    set(UIC0, SR_, UART1_INPUT);
    assert_line();
    expect("a rise is no edge", get(UIC0, SR_) & UART1_INPUT, 0);
    drop_line();
    expect("a fall is one", get(UIC0, SR_) & UART1_INPUT, UART1_INPUT);
    quiet();
}

/* UIC1's outputs are inputs 30 and 31 of UIC0. */
static void uic1_comes_through_inputs_30_and_31(void)
{
    quiet();
    set(UIC0, TR_, ~(INPUT(30) | INPUT(31)));
    set(UIC0, SR_, 0xFFFFFFFF);
    set(UIC0, ER_, INPUT(30) | INPUT(31));
    set(UIC1, ER_, FREE_A | FREE_B);
    set(UIC1, SRS_, FREE_A);
    expect("SR of UIC0", get(UIC0, SR_), INPUT(30));
    expect("the interrupt", run(nothing, MODE), EXTERNAL_INPUT);
    set(UIC0, SR_, INPUT(30));
    expect("held by UIC1", get(UIC0, SR_), INPUT(30));
    /* Critical in UIC1 goes to input 31, which UIC0 makes critical in turn. */
    set(UIC1, CR_, FREE_A);
    set(UIC0, SR_, INPUT(30));
    expect("SR of UIC0, critical", get(UIC0, SR_), INPUT(31));
    expect("not critical in UIC0", run(nothing, MODE), EXTERNAL_INPUT);
    set(UIC0, CR_, INPUT(31));
    expect("critical in both", run(nothing, MODE), CRITICAL_INPUT);
    set(UIC1, SRS_, FREE_B);
    expect("both outputs", get(UIC0, SR_), INPUT(30) | INPUT(31));
    set(UIC1, SR_, FREE_A | FREE_B);
    set(UIC0, SR_, INPUT(30) | INPUT(31));
    expect("over", get(UIC0, SR_), 0);
    expect_quiet();
    quiet();
}

static u32 served;

/* As a kernel does: UIC0, the device, then the acknowledge. */
static int serve_uart(struct frame *frame)
{
    (void)frame;
    if (get(UIC0, MSR_) != UART1_INPUT)
        return 0;
    while (load8(UART1 + LSR) & 1)
        served = served << 8 | load8(UART1 + RBR);
    set(UIC0, SR_, UART1_INPUT);
    return 1;
}

static void looped_bytes_interrupt_and_arrive(void)
{
    quiet();
    served = 0;
    hooks[EXTERNAL_INPUT] = serve_uart;
    store8(UART1 + LCR, 3);
    store8(UART1 + 2, 1); /* FIFOs on */
    store8(UART1 + MCR, 0x10);
    store8(UART1 + IER, 1);
    set(UIC0, TR_, ~UART1_INPUT);
    set(UIC0, SR_, UART1_INPUT);
    set(UIC0, ER_, UART1_INPUT);
    expect_quiet();
    static const u8 bytes[] = { 0x12, 0x34, 0xAB, 0xCD };
    for (u32 n = 0; n < 4; n++) {
        store8(UART1 + RBR, bytes[n]);
        expect("LSR[DR]", load8(UART1 + LSR) & 1, 1);
        run_to_end(nothing, MODE);
        expect("interrupts", taken_count, 2);
    }
    expect("the bytes", served, 0x1234ABCD);
    expect_quiet();
    store8(UART1 + 2, 0);
    quiet();
}

static void the_uart_has_its_registers(void)
{
    for (u32 value = 0; value < 256; value += 51) {
        store8(UART1 + SCR, value);
        expect("SCR", load8(UART1 + SCR), value);
    }
    u8 lcr = load8(UART1 + LCR);
    store8(UART1 + LCR, 0x83);
    store8(UART1, 0x34);
    store8(UART1 + 1, 0x12);
    expect("DLL", load8(UART1), 0x34);
    expect("DLM", load8(UART1 + 1), 0x12);
    store8(UART1, 6);
    store8(UART1 + 1, 0);
    store8(UART1 + LCR, lcr);
    expect("LSR, empty", load8(UART1 + LSR) & 0x61, 0x60);
    expect("IIR, none", load8(UART1 + IIR) & 0x0F, 1);
    store8(UART1 + IER, 2);
    expect("IIR, transmitter", load8(UART1 + IIR) & 0x0F, 2);
    expect("IIR, after the read", load8(UART1 + IIR) & 0x0F, 1);
    store8(UART1 + IER, 0);
}

static u32 indirect(u32 address, u32 index)
{
    switch (address) {
    case 0x0C: mtdcr(0x0C, index); return mfdcr(0x0D);
    case 0x0E: mtdcr(0x0E, index); return mfdcr(0x0F);
    default: mtdcr(0x10, index); return mfdcr(0x11);
    }
}

static void sdram0_tells_the_memory_size(void)
{
    u32 bytes = 0;
    for (u32 index = 0x40; index <= 0x4C; index += 4) {
        u32 bank = indirect(0x10, index);
        if (bank & 1)
            bytes += 0x00400000 << (bank >> 17 & 7);
    }
    expect("its sum", bytes, 256 << 20);
    u32 last = bytes - 4, kept = load32(last);
    store32(last, 0x600D0E0D);
    expect("the last word", load32(last), 0x600D0E0D);
    store32(last, kept);
}

/* A divider's field; 0 stands for the largest. */
static u32 divider(u32 value, u32 shift, u32 largest)
{
    u32 field = value >> shift & (largest - 1);
    return field ? field : largest;
}

/* As Linux's boot wrapper computes them. */
static void cpr0_and_sdr0_tell_the_clocks(void)
{
    u32 pllc = indirect(0x0C, 0x40), plld = indirect(0x0C, 0x60);
    expect("the PLL is engaged", pllc >> 30 & 1, 1);
    u32 fbdv = divider(plld, 24, 32), fwdva = divider(plld, 16, 16), fwdvb = divider(plld, 8, 8);
    u32 lfbdv = divider(plld, 0, 64);
    u32 pradv = divider(indirect(0x0C, 0x80), 24, 8), prbdv = divider(indirect(0x0C, 0xA0), 24, 8);
    u32 opbdv = divider(indirect(0x0C, 0xC0), 24, 4), perdv = divider(indirect(0x0C, 0xE0), 24, 4);
    u32 m;
    switch (pllc >> 24 & 7) {
    case 0: m = (pllc & 0x20000000 ? fwdvb : fwdva) * lfbdv; break;
    case 1: m = fwdva * pradv; break;
    default: m = fwdvb * prbdv * opbdv * perdv; break;
    }
    u32 vco = 33333333 * m * fbdv, plb = vco / fwdvb / prbdv;
    expect("CPU", vco / fwdva / pradv, 533333328);
    expect("PLB", plb, 133333332);
    expect("OPB", plb / opbdv, 66666666);
    expect("EBC", plb / perdv, 66666666);
    for (u32 index = 0x120; index <= 0x123; index++)
        expect("an external serial clock", indirect(0x0E, index) >> 23 & 1, 1);
}

/* A boot wrapper resets the MAL and waits until it says that it is done. */
static void the_mal_comes_out_of_its_reset(void)
{
    mtdcr(0x180, 0x80000000);
    u32 value = 0x80000000;
    for (int n = 0; n < 1000 && value & 0x80000000; n++)
        value = mfdcr(0x180);
    expect("CFG[SR]", value & 0x80000000, 0);
}

static void dcrs_of_nobody_do_not_trap(void)
{
    CODE(unknown_dcr, "mfdcr 3,0x3F0\n mtdcr 0x3F0,3\n");
    run_to_end(unknown_dcr, MSR_ME);
}

const struct test tests[] = {
    TEST(registers_read_back), TEST(status_is_set_by_srs_and_cleared_by_ones),
    TEST(cr_chooses_the_output), TEST(the_vector_is_that_of_the_first_critical_input),
    TEST(a_level_input_pends_as_long_as_its_line), TEST(an_edge_input_pends_once_per_edge),
    TEST(polarity_turns_level_and_edge_round), TEST(uic1_comes_through_inputs_30_and_31),
    TEST(looped_bytes_interrupt_and_arrive), TEST(the_uart_has_its_registers),
    TEST(sdram0_tells_the_memory_size), TEST(cpr0_and_sdr0_tell_the_clocks),
    TEST(the_mal_comes_out_of_its_reset), TEST(dcrs_of_nobody_do_not_trap), {},
};
