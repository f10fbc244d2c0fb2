/* Debug events as Linux's hardware breakpoints use them: IAC, DAC, single step, trap, branch. */
#include "bare.h"

#define USER (MSR_ME | MSR_CE | MSR_PR | MSR_DE)
#define SUPERVISOR (MSR_ME | MSR_CE | MSR_DE)

CODE(steps, "li 3,1\n li 4,2\n li 5,3\n li 6,4\n");

static void arm(u32 events)
{
    mtspr(DBSR, 0xFFFFFFFF);
    mtspr(DBCR0, DBCR0_IDM | events);
}

static void set_iac(int n, u32 address)
{
    switch (n) {
    case 0: mtspr(IAC1, address); break;
    case 1: mtspr(IAC2, address); break;
    case 2: mtspr(IAC3, address); break;
    case 3: mtspr(IAC4, address); break;
    }
}

static void each_instruction_compare_stops_before_it(void)
{
    mtspr(DBCR1, 0);
    for (int n = 0; n < 4; n++)
        for (int user = 0; user < 2; user++) {
            u32 msr = user ? USER : SUPERVISOR;
            at("IAC", n + 1);
            set_iac(n, (u32)(steps + 2));
            arm(DBG_IAC1 >> n);
            run(steps, msr);
            expect_critical(DEBUG, steps + 2, msr);
            expect("DBSR", end.dbsr, DBG_IAC1 >> n);
            expect("ESR", end.esr, OLD_ESR);
            expect("GPR4", out[4], 2);
            expect("GPR5", out[5], 0);
        }
}

static void two_compares_are_told_apart(void)
{
    mtspr(DBCR1, 0);
    set_iac(0, (u32)(steps + 1));
    set_iac(3, (u32)(steps + 3));
    arm(DBG_IAC1 | DBG_IAC1 >> 3);
    run(steps, USER);
    expect_critical(DEBUG, steps + 1, USER);
    expect("DBSR", end.dbsr, DBG_IAC1);
    mtspr(DBSR, 0xFFFFFFFF);
    run(steps + 2, USER);
    expect_critical(DEBUG, steps + 3, USER);
    expect("DBSR", end.dbsr, DBG_IAC1 >> 3);
}

static void compares_need_idm_and_de(void)
{
    mtspr(DBCR1, 0);
    set_iac(0, (u32)(steps + 2));
    arm(DBG_IAC1);
    run_to_end(steps, USER & ~MSR_DE);
    mtspr(DBCR0, DBG_IAC1);
    run_to_end(steps, USER);
    arm(0);
    run_to_end(steps, USER);
}

/* DBCR1[IAC1US]: 10 supervisor, 11 user. */
static void compares_choose_user_or_supervisor(void)
{
    set_iac(0, (u32)(steps + 2));
    mtspr(DBCR1, 0x80000000);
    arm(DBG_IAC1);
    run_to_end(steps, USER);
    expect("supervisor", run(steps, SUPERVISOR), DEBUG);
    mtspr(DBCR1, 0xC0000000);
    arm(DBG_IAC1);
    run_to_end(steps, SUPERVISOR);
    expect("user", run(steps, USER), DEBUG);
    mtspr(DBCR1, 0);
}

/* DBCR1[IAC12M]: 10 inside IAC1..IAC2, 11 outside. */
static void compares_take_ranges(void)
{
    set_iac(0, (u32)(steps + 1));
    set_iac(1, (u32)(steps + 3));
    mtspr(DBCR1, 0x00800000);
    arm(DBG_IAC1);
    run(steps, USER);
    expect_critical(DEBUG, steps + 1, USER);
    run(steps + 2, USER);
    expect_critical(DEBUG, steps + 2, USER);
    run_to_end(steps + 3, USER);
    mtspr(DBCR1, 0x00C00000);
    run(steps, USER);
    expect_critical(DEBUG, steps, USER);
    run(steps + 1, USER);
    expect_critical(DEBUG, steps + 3, USER);
    mtspr(DBCR1, 0);
}

CODE(accesses, "lwz 4,0(3)\n stw 5,0(3)\n lbz 6,1(3)\n stb 5,2(3)\n lwz 7,4(3)\n");

static void data_compares_tell_loads_from_stores(void)
{
    static const struct { u32 event, word; } cases[] = {
        { DBG_DAC1R, 0 }, { DBG_DAC1W, 1 }, { DBG_DAC2R, 0 }, { DBG_DAC2W, 1 },
    };
    for (int n = 0; n < 4; n++)
        for (int user = 0; user < 2; user++) {
            u32 msr = user ? USER : SUPERVISOR;
            at("event", n);
            store32(FREE, 0x01020304);
            mtspr(DBCR2, 0);
            mtspr(DAC1, n < 2 ? FREE : 0);
            mtspr(DAC2, n < 2 ? 0 : FREE);
            arm(cases[n].event);
            in[3] = FREE;
            in[5] = 0x55555555;
            run(accesses, msr);
            expect_critical(DEBUG, accesses + cases[n].word, msr);
            expect("DBSR", end.dbsr, cases[n].event);
            expect("the load", out[4], cases[n].word ? 0x01020304 : 0);
            expect("the store", load32(FREE), 0x01020304);
        }
}

/* Any byte of the access counts. */
static void data_compares_look_at_each_byte(void)
{
    mtspr(DBCR2, 0);
    for (u32 byte = 0; byte < 8; byte++) {
        static const u8 loads[] = { 0, 0, 0, 0, 4, 4, 4, 4 };
        at("byte", byte);
        mtspr(DAC1, FREE + byte);
        arm(DBG_DAC1R);
        in[3] = FREE;
        run(accesses, USER);
        expect_critical(DEBUG, accesses + loads[byte], USER);
    }
    mtspr(DAC1, FREE + 2);
    arm(DBG_DAC1W);
    in[3] = FREE;
    run(accesses, USER);
    expect_critical(DEBUG, accesses + 1, USER);
    run_to_end(accesses + 4, USER);
}

/* As Linux goes on: the compare off, one step, the compare on again. */
static int watch_hits, watch_steps;

static int step_over(struct frame *frame)
{
    if (frame->dbsr & (DBG_DAC1R | DBG_DAC1W)) {
        watch_hits++;
        mtspr(DBSR, 0xFFFFFFFF);
        mtspr(DBCR0, DBCR0_IDM | DBG_ICMP);
        return 1;
    }
    if (frame->dbsr & DBG_ICMP) {
        watch_steps++;
        mtspr(DBSR, 0xFFFFFFFF);
        mtspr(DBCR0, DBCR0_IDM | DBG_DAC1R | DBG_DAC1W);
        return 1;
    }
    return 0;
}

static void a_watchpoint_is_stepped_over(void)
{
    watch_hits = watch_steps = 0;
    hooks[DEBUG] = step_over;
    mtspr(DBCR2, 0);
    mtspr(DAC1, FREE);
    arm(DBG_DAC1R | DBG_DAC1W);
    store32(FREE, 0x01020304);
    in[3] = FREE;
    in[5] = 0x0A0B0C0D;
    run_to_end(accesses, USER);
    expect("hits", watch_hits, 2);
    expect("steps", watch_steps, 2);
    expect("lwz", out[4], 0x01020304);
    expect("lbz", out[6], 0x0B);
    expect("memory", load32(FREE), 0x0A0B0D0D);
}

/* A miss goes before the compare, which comes when the access is repeated. */
static int map_it(struct frame *frame)
{
    (void)frame;
    tlb_set(5, EA, SIZE_4K, FREE, ALL);
    return 1;
}

static void a_miss_goes_before_the_data_compare(void)
{
    hooks[DATA_TLB] = map_it;
    mtspr(DBCR2, 0);
    mtspr(DAC1, EA);
    arm(DBG_DAC1R);
    in[3] = EA;
    run(accesses, USER);
    static const u8 order[] = { DATA_TLB, DEBUG };
    expect_taken(2, order);
    expect_critical(DEBUG, accesses, USER);
}

static u32 step_pc[32], step_count, stepped_handler;

/* `sc` ends the code, and its handler is stepped too: its MSR keeps DE. */
CODE(stepped, "li 3,1\n cmpwi 3,1\n beq 1f\n li 3,99\n 1: addi 3,3,1\n stw 3,0(5)\n lwz 4,0(5)\n");
/* Steps over a device's register and over a DCR. */
CODE(stepped_device, "lbz 4,7(3)\n stb 4,7(3)\n mfdcr 5,0xC2\n nop\n");

static int note_step(struct frame *frame)
{
    if (frame->pc - (u32)stepped > 40 && frame->pc - (u32)stepped_device > 40) {
        stepped_handler++;
        mtspr(DBCR0, 0);
        return 1;
    }
    if (step_count < 32)
        step_pc[step_count++] = frame->pc;
    expect("DBSR", frame->dbsr, DBG_ICMP);
    expect("MSR in the handler", frame->handler_msr, MSR_ME);
    mtspr(DBSR, 0xFFFFFFFF);
    return 1;
}

static void single_steps_stop_behind_each_instruction(void)
{
    static const u8 after[] = { 1, 2, 4, 5, 6, 7 };
    for (int user = 0; user < 2; user++) {
        step_count = stepped_handler = 0;
        hooks[DEBUG] = note_step;
        arm(DBG_ICMP);
        in[5] = FREE;
        run_to_end(stepped, user ? USER : SUPERVISOR);
        for (u32 n = 0; n < 6; n++) {
            at("step", n);
            expect("CSRR0", step_pc[n], (u32)(stepped + after[n]));
        }
        expect("the result", out[4], 2);
        expect("steps in the handler of sc", stepped_handler, 1);
    }
}

static void single_steps_go_over_device_accesses(void)
{
    step_count = 0;
    hooks[DEBUG] = note_step;
    arm(DBG_ICMP);
    in[3] = 0xEF600400;
    run_to_end(stepped_device, SUPERVISOR);
    expect("steps", step_count >= 4, 1);
    for (u32 n = 0; n < 4; n++) {
        at("step", n);
        expect("CSRR0", step_pc[n], (u32)(stepped_device + n + 1));
    }
}

CODE(trapping, "nop\n twi 31,0,0\n");

static void a_trap_event_goes_before_the_program_interrupt(void)
{
    arm(DBG_TRAP);
    run(trapping, USER);
    expect_critical(DEBUG, trapping + 1, USER);
    expect("DBSR", end.dbsr, DBG_TRAP);
    mtspr(DBCR0, 0);
    run(trapping, USER);
    expect_non_critical(PROGRAM, trapping + 1, USER);
}

CODE(branches, "cmpwi 3,0\n bne 1f\n b 1f\n nop\n 1: nop\n");

static void a_branch_event_is_one_of_a_taken_branch(void)
{
    arm(DBG_BRT);
    in[3] = 0;
    run(branches, USER);
    expect_critical(DEBUG, branches + 2, USER);
    expect("DBSR", end.dbsr, DBG_BRT);
    mtspr(DBSR, 0xFFFFFFFF);
    in[3] = 1;
    run(branches, USER);
    expect_critical(DEBUG, branches + 1, USER);
}

static void dbsr_is_cleared_by_ones(void)
{
    arm(DBG_TRAP);
    run(trapping, USER);
    expect("set", mfspr(DBSR), DBG_TRAP);
    mtspr(DBSR, 0);
    expect("zeroes", mfspr(DBSR), DBG_TRAP);
    mtspr(DBSR, DBG_TRAP);
    expect("ones", mfspr(DBSR), 0);
}

/* The handler itself runs with DE 0: nothing stops in it. */
static int touch_watched(struct frame *frame)
{
    frame->gpr[20] = load32(FREE);
    mtspr(DBCR0, 0);
    return 1;
}

static void handlers_of_critical_interrupts_are_not_watched(void)
{
    hooks[DEBUG] = touch_watched;
    mtspr(DBCR2, 0);
    mtspr(DAC1, FREE);
    arm(DBG_DAC1R);
    in[3] = FREE;
    run_to_end(accesses, USER);
    expect("interrupts", taken_count, 2);
}

const struct test tests[] = {
    TEST(each_instruction_compare_stops_before_it), TEST(two_compares_are_told_apart),
    TEST(compares_need_idm_and_de), TEST(compares_choose_user_or_supervisor),
    TEST(compares_take_ranges), TEST(data_compares_tell_loads_from_stores),
    TEST(data_compares_look_at_each_byte), TEST(a_watchpoint_is_stepped_over),
    TEST(a_miss_goes_before_the_data_compare), TEST(single_steps_stop_behind_each_instruction),
    TEST(single_steps_go_over_device_accesses),
    TEST(a_trap_event_goes_before_the_program_interrupt),
    TEST(a_branch_event_is_one_of_a_taken_branch), TEST(dbsr_is_cleared_by_ones),
    TEST(handlers_of_critical_interrupts_are_not_watched), {},
};
