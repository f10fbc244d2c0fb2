/* Interrupts among each other: which nests in which and which goes first, what becomes of a
   reservation, and the wait state that they end. */
#include "requests.h"

CODE(nothing, "nop\n");
CODE(trap_word, "nop\n twi 31,0,0\n");
CODE(align_lfd, "lfd 1,0(3)\n");
CODE(align_stfs, "stfs 1,0(3)\n");
CODE(align_dcbz, "dcbz 0,3\n");

/* Nesting and priorities. */

static struct frame first, second;

static int raise_critical_input(struct frame *frame)
{
    first = *frame;
    mtdcr(UIC0_CR, INPUT);
    /* Here the critical input interrupts. */
    asm volatile("nop; nop" : : : "memory");
    frame->gpr[9] = mfspr(SRR0);
    frame->gpr[10] = mfspr(SRR1);
    return 1;
}

static int clear_critical_input(struct frame *frame)
{
    second = *frame;
    mtdcr(UIC0_SR, INPUT);
    return 1;
}

CODE(count_down, "mtctr 3\n 1: addi 4,4,1\n bdnz 1b\n");

static void critical_nests_in_non_critical(void)
{
    u32 msr = MSR_EE | MSR_CE | MSR_ME | MSR_PR | MSR_DE;
    hooks[EXTERNAL_INPUT] = raise_critical_input;
    hooks[CRITICAL_INPUT] = clear_critical_input;
    uic_request(0);
    in[3] = 10;
    run_to_end(count_down, msr);
    static const u8 order[] = { EXTERNAL_INPUT, CRITICAL_INPUT, SYSTEM_CALL };
    expect_taken(3, order);
    expect("SRR0 after it", out[9], (u32)count_down);
    expect("SRR1 after it", out[10], msr);
    expect("CSRR1 of the inner", second.msr, MSR_CE | MSR_ME | MSR_DE);
    expect("its MSR", second.handler_msr, MSR_ME);
    expect("CSRR0 lies in the outer handler", second.pc - (u32)raise_critical_input < 0x100, 1);
    expect("the loop", out[4], 10);
    uic_quiet();
}

static int request_then_resume(struct frame *frame)
{
    if (taken_count > 1)
        return 0;
    first = *frame;
    uic_request(1);
    asm volatile("nop" : : : "memory");
    return 1;
}

/* A debug interrupt clears CE: the critical input waits until rfci. */
static void critical_waits_for_critical(void)
{
    u32 msr = MSR_CE | MSR_ME | MSR_DE;
    hooks[DEBUG] = request_then_resume;
    hooks[CRITICAL_INPUT] = clear_critical_input;
    mtspr(DBCR0, DBCR0_IDM | DBG_TRAP);
    run(trap_word, msr);
    /* The trap is met again after the first resume, and that ends it. */
    static const u8 order[] = { DEBUG, CRITICAL_INPUT, DEBUG };
    expect_taken(3, order);
    expect("CSRR0", second.pc, (u32)(trap_word + 1));
    expect("CSRR1", second.msr, msr);
    uic_quiet();
}

static u32 order_pc[8], order_count;

static int clear_any(struct frame *frame)
{
    if (order_count < 8)
        order_pc[order_count++] = frame->pc;
    switch (frame->vector) {
    case CRITICAL_INPUT:
        /* The other input, not critical, stays. */
        mtdcr(UIC0_SR, INPUT);
        break;
    case WATCHDOG: mtspr(TSR, TSR_WIS | TSR_ENW); break;
    case EXTERNAL_INPUT: mtdcr(UIC0_SR, INPUT >> 1); break;
    case FIXED_INTERVAL: mtspr(TSR, TSR_FIS); break;
    case DECREMENTER: mtspr(TSR, TSR_DIS); break;
    }
    return 1;
}

static void asynchronous_priorities(void)
{
    mtspr(DEC, 1);
    mtspr(TCR, (mfspr(TCR) & ~0x03000000) | TCR_FIE | TCR_DIE);
    watchdog_request();
    mtspr(TBL_W, 0);
    mtspr(TBL_W, 0x00001000);
    mtdcr(UIC0_TR, INPUT | INPUT >> 1);
    mtdcr(UIC0_CR, INPUT);
    mtdcr(UIC0_ER, INPUT | INPUT >> 1);
    mtdcr(UIC0_SRS, INPUT | INPUT >> 1);
    static const u8 kinds[] = { CRITICAL_INPUT, WATCHDOG, EXTERNAL_INPUT, FIXED_INTERVAL,
                                DECREMENTER, SYSTEM_CALL };
    for (int n = 0; n < 5; n++)
        hooks[kinds[n]] = clear_any;
    order_count = 0;
    run_to_end(nothing, MSR_ME | MSR_CE | MSR_EE | MSR_PR);
    expect_taken(6, kinds);
    /* All of them before the first instruction. */
    for (int n = 0; n < 5; n++)
        expect("the address", order_pc[n], (u32)nothing);
    uic_quiet();
}

CODE(iac_target, "nop\n nop\n");
CODE(priv_illegal, ".long 0\n");

static void priorities_inside_an_instruction(void)
{
    u32 msr = MSR_ME | MSR_PR | MSR_DE | MSR_FP;
    /* An instruction address compare goes before the miss of the same fetch. */
    mtspr(IAC1, EA);
    mtspr(DBCR0, DBCR0_IDM | DBG_IAC1);
    run((void *)EA, msr);
    expect_critical(DEBUG, (void *)EA, msr);
    mtspr(DBCR0, 0);
    /* The execute permission goes before what the word is. */
    tlb_set(3, EA, SIZE_4K, FREE, UR | UW | SR | SW);
    store32(FREE, 0);
    run((void *)EA, msr);
    expect_non_critical(INSTRUCTION_STORAGE, (void *)EA, msr);
    tlb_clear(3);
    /* A miss goes before alignment. */
    in[3] = EA + 2;
    run(align_lfd, msr);
    expect_non_critical(DATA_TLB, align_lfd, msr);
    in[3] = EA + 3;
    run(align_stfs, msr);
    expect_non_critical(DATA_TLB, align_stfs, msr);
    expect("ESR", end.esr, ESR_MCI | ESR_FP | ESR_ST);
    /* So does the permission. */
    tlb_set(3, EA, SIZE_4K, FREE, SR | SW);
    in[3] = EA + 2;
    run(align_lfd, msr);
    expect_non_critical(DATA_STORAGE, align_lfd, msr);
    in[3] = EA + 2;
    run(align_stfs, msr);
    expect_non_critical(DATA_STORAGE, align_stfs, msr);
    tlbwe2(3, SR | SW | TLB_I | TLB_G);
    in[3] = EA;
    run(align_dcbz, msr);
    expect_non_critical(DATA_STORAGE, align_dcbz, msr);
    /* Alignment goes before a data address compare. */
    tlbwe2(3, ALL);
    mtspr(DAC1, EA + 2);
    mtspr(DBCR0, DBCR0_IDM | DBG_DAC1R);
    in[3] = EA + 2;
    run(align_lfd, msr);
    expect_non_critical(ALIGNMENT, align_lfd, msr);
    mtspr(DAC1, EA);
    tlbwe2(3, ALL | TLB_W);
    mtspr(DBCR0, DBCR0_IDM | DBG_DAC1W);
    in[3] = EA;
    run(align_dcbz, msr);
    expect_non_critical(ALIGNMENT, align_dcbz, msr);
}

/* Reservations. */

CODE(reserve, "lwarx 4,0,3\n sc\n stwcx. 5,0,3\n mfcr 6\n");

static int go_on(struct frame *frame)
{
    hooks[frame->vector] = 0;
    return 1;
}

static int store_conditionally(struct frame *frame)
{
    static u32 elsewhere;
    hooks[frame->vector] = 0;
    asm volatile("stwcx. %0, 0, %1" : : "r"(0), "r"(&elsewhere) : "cr0", "memory");
    return 1;
}

static void reservations_over_interrupts(void)
{
    for (u32 so = 0; so < 2; so++) {
        /* An interrupt by itself leaves the reservation. */
        store32(FREE, 1);
        hooks[SYSTEM_CALL] = go_on;
        in[3] = FREE;
        in[5] = 2;
        start_of_run.xer = so << 31;
        run_to_end(reserve, USER);
        expect("what lwarx loaded", out[4], 1);
        expect("CR0, stored", out[6] >> 28, 2 | so);
        expect("memory", load32(FREE), 2);
        /* A handler that stores conditionally ends it. */
        hooks[SYSTEM_CALL] = store_conditionally;
        in[3] = FREE;
        in[5] = 3;
        start_of_run.xer = so << 31;
        run_to_end(reserve, USER);
        expect("CR0, not stored", out[6] >> 28, so);
        expect("memory, not stored", load32(FREE), 2);
    }
}

CODE(reserve_fault, "lwarx 4,0,3\n stwcx. 5,0,3\n mfcr 6\n");

static int map_for_store(struct frame *frame)
{
    (void)frame;
    tlb_set(3, EA, SIZE_4K, FREE, ALL);
    return 1;
}

/* stwcx. that faults keeps its reservation, and stores when it is repeated. */
static void a_store_conditional_survives_its_fault(void)
{
    tlb_set(3, EA, SIZE_4K, FREE, UR | SR);
    store32(FREE + 8, 7);
    hooks[DATA_STORAGE] = map_for_store;
    in[3] = EA + 8;
    in[5] = 9;
    run_to_end(reserve_fault, MSR_ME | MSR_PR);
    expect("faults", taken_count, 2);
    expect("CR0", out[6] >> 28, 2);
    expect("memory", load32(FREE + 8), 9);
}

/* The wait state. */

CODE(wait_code, "mtmsr 3\n isync\n nop\n");

static int wake_up(struct frame *frame)
{
    first = *frame;
    mtspr(TSR, TSR_DIS | TSR_FIS | TSR_WIS);
    mtdcr(UIC0_SR, INPUT);
    frame->msr &= ~MSR_WE;
    return 1;
}

static void expect_woken(int vector, u32 msr)
{
    expect("the interrupt", first.vector, vector);
    expect("its return address", first.pc, (u32)(wait_code + 1));
    expect("the saved MSR", first.msr, msr);
    expect("WE in the handler", first.handler_msr & MSR_WE, 0);
    expect("interrupts", taken_count, 2);
}

static void wait_ends_with_the_decrementer(void)
{
    u32 msr = MSR_ME | MSR_CE | MSR_EE | MSR_WE;
    hooks[DECREMENTER] = wake_up;
    mtspr(TCR, mfspr(TCR) | TCR_DIE);
    mtspr(DEC, 20000);
    u32 before = mfspr(TBL);
    in[3] = msr;
    run_to_end(wait_code, MSR_ME);
    expect_woken(DECREMENTER, msr);
    expect("time passed", mfspr(TBL) - before >= 19000, 1);
}

static void wait_ends_with_the_fixed_interval(void)
{
    u32 msr = MSR_ME | MSR_CE | MSR_EE | MSR_WE;
    hooks[FIXED_INTERVAL] = wake_up;
    mtspr(TBL_W, 0);
    mtspr(TCR, (mfspr(TCR) & ~0x03000000) | TCR_FIE);
    in[3] = msr;
    run_to_end(wait_code, MSR_ME);
    expect_woken(FIXED_INTERVAL, msr);
}

static void wait_ends_with_the_watchdog(void)
{
    /* EE stays 0: a critical interrupt needs only CE. */
    u32 msr = MSR_ME | MSR_CE | MSR_WE;
    hooks[WATCHDOG] = wake_up;
    watchdog_request();
    mtspr(TSR, TSR_WIS);
    mtspr(TBL_W, 0x000FF000);
    in[3] = msr;
    run_to_end(wait_code, MSR_ME);
    expect_woken(WATCHDOG, msr);
}

static void wait_with_a_request_pending_is_over_at_once(void)
{
    u32 msr = MSR_ME | MSR_CE | MSR_EE | MSR_WE;
    hooks[EXTERNAL_INPUT] = wake_up;
    uic_request(0);
    in[3] = msr;
    run_to_end(wait_code, MSR_ME);
    expect_woken(EXTERNAL_INPUT, msr);
    uic_quiet();
}

const struct test tests[] = {
    TEST(critical_nests_in_non_critical), TEST(critical_waits_for_critical),
    TEST(asynchronous_priorities), TEST(priorities_inside_an_instruction),
    TEST(reservations_over_interrupts), TEST(a_store_conditional_survives_its_fault),
    TEST(wait_ends_with_the_decrementer), TEST(wait_ends_with_the_fixed_interval),
    TEST(wait_ends_with_the_watchdog), TEST(wait_with_a_request_pending_is_over_at_once), {},
};
