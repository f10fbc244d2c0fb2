/* Every interrupt: save registers, MSR, ESR, DEAR; the MSR, and the ways back. */
#include "requests.h"

CODE(nothing, "nop\n");
CODE(spin, "1: addi 3,3,1\n b 1b\n");

static void system_call(void)
{
    static const u32 modes[] = { USER, SUPERVISOR, 0, MSR_ME };
    for (int n = 0; n < 4; n++) {
        at("MSR", modes[n]);
        in[7] = 0x1234567;
        run(nothing, modes[n]);
        expect_non_critical(SYSTEM_CALL, nothing + 2, modes[n]);
        expect("ESR", end.esr, OLD_ESR);
        expect("DEAR", end.dear, OLD_DEAR);
        expect("GPR7", out[7], 0x1234567);
    }
}

CODE(illegal, "nop\n .long 0\n");

static void program_illegal(void)
{
    static const u32 words[] = {
        0x00000000, 0x18000000, 0x04000000, 0x7C0000CE, /* lvx */
        0xE8610000, 0xF8610000, /* ld, std */
        0x10000380, /* opcode 4, vector */
        0x7C600001 | 13 << 1, 0xFC00069C, /* fcfid */
        0x7C6002A6, /* mfspr of SPR 0, in problem state */
    };
    for (int user = 0; user < 2; user++)
        for (u32 n = 0; n < sizeof words / 4; n++) {
            if (words[n] == 0x7C6002A6 && !user)
                continue;
            u32 msr = user ? USER : SUPERVISOR;
            copy_code(FREE, illegal, 3);
            copy_code(FREE + 4, &words[n], 1);
            at("instruction", words[n]);
            run((void *)FREE, msr);
            expect_non_critical(PROGRAM, (void *)(FREE + 4), msr);
            expect("ESR", end.esr, ESR_MCI | ESR_PIL);
            expect("DEAR", end.dear, OLD_DEAR);
        }
}

/* The privileged instructions, and SPRs with 0x10 in their number. */
static const u32 privileged_words[] = {
    0x7C6000A6, /* mfmsr */
    0x7C600124, /* mtmsr */
    0x7C600106, /* wrtee */
    0x7C008146, /* wrteei 1 */
    0x4C000064, /* rfi */
    0x4C000066, /* rfci */
    0x4C00004C, /* rfmci */
    0x7C6407A4, /* tlbwe 3,4,0 */
    0x7C640764, /* tlbre 3,4,0 */
    0x7C641F24, /* tlbsx 3,4,3 */
    0x7C641F25, /* tlbsx. */
    0x7C00046C, /* tlbsync */
    0x7C600286, /* mfdcr 3,0 */
    0x7C600386, /* mtdcr 0,3 */
    0x7C001BAC, /* dcbi 0,3 */
    0x7C00038C, /* dccci */
    0x7C00078C, /* iccci */
    0x7C6003CC, /* dcread 3,0,0 */
    0x7C0007CC, /* icread */
    0x7C7A02A6, /* mfspr 3,SRR0 */
    0x7C7A03A6, /* mtspr SRR0,3 */
    0x7C7642A6 + 0, /* mfspr 3,SPRG6's number to write */
    0x7C70FBA6, /* mtspr 1008: exists on no 440 */
};

CODE(mfmsr_fixup, "mfmsr 3\n");

static void program_privileged(void)
{
    for (u32 n = 0; n < sizeof privileged_words / 4; n++) {
        u32 word = privileged_words[n];
        copy_code(FREE, nothing, 3);
        copy_code(FREE + 4, &word, 1);
        at("instruction", word);
        /* An address that is not mapped: the privilege is checked first. */
        in[3] = EA;
        run((void *)FREE, USER);
        expect_non_critical(PROGRAM, (void *)(FREE + 4), USER);
        expect("ESR", end.esr, ESR_MCI | ESR_PPR);
        expect("DEAR", end.dear, OLD_DEAR);
        expect("GPR3", out[3], EA);
    }
    run(mfmsr_fixup, MSR_ME);
    expect_non_critical(SYSTEM_CALL, mfmsr_fixup + 2, MSR_ME);
    expect("mfmsr", out[3], MSR_ME);
}

CODE(time_base_user, "mfspr 3,268\n mfspr 4,269\n mftb 5\n mfspr 6,256\n mfspr 7,260\n"
                     "mfspr 8,261\n mfspr 9,262\n mfspr 10,263\n mtspr 256,11\n mfspr 12,256\n");

static void sprs_of_problem_state(void)
{
    for (u32 n = 0; n < 4; n++) {
        switch (n) {
        case 0: mtspr(276, 0x11110004); break;
        case 1: mtspr(277, 0x11110005); break;
        case 2: mtspr(278, 0x11110006); break;
        case 3: mtspr(279, 0x11110007); break;
        }
    }
    mtspr(USPRG0, 0x5555AAAA);
    in[11] = 0x600DF00D;
    run_to_end(time_base_user, USER);
    expect("TBL moved on", out[5] - out[3] - 1 < 0x10000000, 1);
    expect("USPRG0", out[6], 0x5555AAAA);
    for (int n = 0; n < 4; n++)
        expect("SPRG4 to 7", out[7 + n], 0x11110004 + n);
    expect("USPRG0, written", out[12], 0x600DF00D);
}

CODE(trap_word, "nop\n twi 31,0,0\n");
CODE(trap_compare, "tweq 3,4\n twlt 3,4\n");

static void program_trap(void)
{
    run(trap_word, USER);
    expect_non_critical(PROGRAM, trap_word + 1, USER);
    expect("ESR", end.esr, ESR_MCI | ESR_PTR);
    in[3] = 0xFFFFFFFF;
    in[4] = 1;
    run(trap_compare, SUPERVISOR);
    expect_non_critical(PROGRAM, trap_compare + 1, SUPERVISOR);
    in[3] = 2;
    in[4] = 1;
    run_to_end(trap_compare, USER);
}

CODE(fp_invalid, "lfd 1,0(5)\n mtfsf 255,1\n mtfsb1 24\n fdiv 3,1,1\n");

static void program_floating_point(void)
{
    /* 0 / 0 with FPSCR[VE]. */
    static const u32 modes[] = { MSR_FE0, MSR_FE1, MSR_FE0 | MSR_FE1 };
    store32(FREE, 0);
    store32(FREE + 4, 0);
    for (int n = 0; n < 3; n++) {
        u32 msr = MSR_PR | MSR_FP | MSR_ME | modes[n];
        at("MSR", msr);
        in[5] = FREE;
        run(fp_invalid, msr);
        expect_non_critical(PROGRAM, fp_invalid + 3, msr);
        expect("ESR", end.esr, ESR_MCI | ESR_FP);
    }
    at("MSR", MSR_FP);
    in[5] = FREE;
    run_to_end(fp_invalid, MSR_FP);
}

CODE(fp_add, "fadd 1,1,1\n");
CODE(fp_load, "lfd 1,0(3)\n");

static void fp_unavailable(void)
{
    u32 msr = USER & ~MSR_FP;
    run(fp_add, msr);
    expect_non_critical(FP_UNAVAILABLE, fp_add, msr);
    expect("ESR", end.esr, OLD_ESR);
    in[3] = FREE;
    run(fp_load, msr);
    expect_non_critical(FP_UNAVAILABLE, fp_load, msr);
    /* Before the translation of its address. */
    in[3] = EA;
    run(fp_load, msr);
    expect_non_critical(FP_UNAVAILABLE, fp_load, msr);
    expect("DEAR", end.dear, OLD_DEAR);
}

CODE(access_lwz, "lwz 4,4(3)\n");
CODE(access_stw, "stw 4,4(3)\n");
CODE(access_lfs, "lfs 4,4(3)\n");
CODE(access_stfd, "stfd 4,4(3)\n");
CODE(access_dcbz, "li 5,4\n dcbz 5,3\n");
CODE(access_dcbf, "li 5,4\n dcbf 5,3\n");
CODE(access_dcbst, "li 5,4\n dcbst 5,3\n");
CODE(access_icbi, "li 5,4\n icbi 5,3\n");
CODE(access_stwcx, "li 5,4\n lwarx 6,0,7\n stwcx. 4,5,3\n");
CODE(access_lwarx, "li 5,4\n lwarx 4,5,3\n");
CODE(access_lbzu, "lbzu 4,4(3)\n");
CODE(access_sthux, "li 5,4\n sthux 4,3,5\n");
CODE(access_dcbi, "li 5,4\n dcbi 5,3\n");

static const struct access {
    const u32 *code;
    u32 at, esr;
} accesses[] = {
    { access_lwz, 0, 0 },
    { access_stw, 0, ESR_ST },
    { access_lfs, 0, ESR_FP },
    { access_stfd, 0, ESR_FP | ESR_ST },
    { access_dcbz, 1, ESR_ST },
    { access_dcbf, 1, 0 },
    { access_dcbst, 1, 0 },
    { access_icbi, 1, 0 },
    { access_stwcx, 2, ESR_ST },
    { access_lwarx, 1, 0 },
    { access_lbzu, 0, 0 },
    { access_sthux, 1, ESR_ST },
};

static void each_access(int vector)
{
    for (u32 n = 0; n < sizeof accesses / sizeof accesses[0]; n++)
        for (int user = 0; user < 2; user++) {
            u32 msr = user ? USER : SUPERVISOR;
            at("access", n);
            in[3] = EA + 0x100;
            in[4] = 0x44444444;
            in[7] = FREE;
            run(accesses[n].code, msr);
            expect_non_critical(vector, accesses[n].code + accesses[n].at, msr);
            expect("ESR", end.esr, ESR_MCI | accesses[n].esr);
            expect("DEAR", end.dear, EA + 0x104);
            expect("the base", out[3], EA + 0x100);
            expect("the register", out[4], 0x44444444);
        }
    /* dcbi is privileged, and a store. */
    in[3] = EA + 0x100;
    run(access_dcbi, SUPERVISOR);
    expect_non_critical(vector, access_dcbi + 1, SUPERVISOR);
    expect("ESR of dcbi", end.esr, ESR_MCI | ESR_ST);
}

static void data_tlb(void)
{
    each_access(DATA_TLB);
}

static void data_storage(void)
{
    tlb_set(3, EA | TLB_TS, SIZE_4K, FREE, UX | SX);
    each_access(DATA_STORAGE);
}

CODE(hints, "li 5,4\n dcbt 5,3\n dcbtst 5,3\n icbt 0,5,3\n dcba 5,3\n");

static void hints_never_fault(void)
{
    in[3] = EA;
    run_to_end(hints, USER);
    tlb_set(3, EA | TLB_TS, SIZE_4K, FREE, UX | SX);
    in[3] = EA;
    run_to_end(hints, USER);
}

static void instruction_tlb(void)
{
    for (int user = 0; user < 2; user++) {
        u32 msr = user ? USER : SUPERVISOR;
        run((void *)(EA + 0x20), msr);
        expect_non_critical(INSTRUCTION_TLB, (void *)(EA + 0x20), msr);
        expect("ESR", end.esr, OLD_ESR);
        expect("DEAR", end.dear, OLD_DEAR);
    }
}

static void instruction_storage(void)
{
    /* Problem state may, supervisor may not; then the other way. */
    tlb_set(3, EA | TLB_TS, SIZE_4K, FREE, ALL & ~SX);
    copy_code(FREE + 0x20, nothing, 2);
    run((void *)(EA + 0x20), SUPERVISOR);
    expect_non_critical(INSTRUCTION_STORAGE, (void *)(EA + 0x20), SUPERVISOR);
    expect("ESR", end.esr, ESR_MCI);
    expect("DEAR", end.dear, OLD_DEAR);
    run_to_end((void *)(EA + 0x20), USER);
    tlbwe2(3, ALL & ~UX);
    run((void *)(EA + 0x20), USER);
    expect_non_critical(INSTRUCTION_STORAGE, (void *)(EA + 0x20), USER);
    run_to_end((void *)(EA + 0x20), SUPERVISOR);
}

CODE(align_lwarx, "lwarx 4,0,3\n");
CODE(align_stwcx, "stwcx. 4,0,3\n");
CODE(align_dcbz, "dcbz 0,3\n");
CODE(align_lfd, "lfd 1,0(3)\n");
CODE(align_lfs, "lfs 1,0(3)\n");
CODE(align_stfs, "stfs 1,0(3)\n");
CODE(align_stfd, "stfd 1,0(3)\n");
CODE(align_lwz, "lwz 4,0(3)\n");
CODE(align_sth, "sth 4,0(3)\n");
CODE(align_lmw, "lmw 30,0(3)\n");
CODE(align_lbz, "lbz 4,0(3)\n");
CODE(align_lswi, "lswi 4,3,8\n");
CODE(align_free, "lwz 4,1(3)\n lhz 5,1(3)\n stw 4,5(3)\n lmw 30,2(3)\n lfd 1,4(3)\n"
                 "lwarx 6,0,7\n stwcx. 6,0,7\n mfcr 8\n");

static void expect_alignment(const u32 *code, u32 ea, u32 esr)
{
    in[3] = ea;
    in[4] = 0x44444444;
    run(code, USER);
    expect_non_critical(ALIGNMENT, code, USER);
    expect("ESR", end.esr, ESR_MCI | esr);
    expect("DEAR", end.dear, ea);
    expect("the register", out[4], 0x44444444);
}

/* What needs no alignment while CCR0[FLSTA] is 0 (page 186). */
static void integer_accesses_need_no_alignment(void)
{
    tlb_set(3, EA | TLB_TS, SIZE_4K, FREE, ALL);
    fill(FREE, 64, 1);
    in[3] = EA;
    in[7] = EA + 0x22;
    run_to_end(align_free, USER);
    expect("lwz", out[4], 0x02030405);
    expect("lhz", out[5], 0x0203);
    expect("lmw", out[31], 0x0304050A); /* behind the bytes that stw wrote */
    expect("lwarx", out[6], 0x23242526);
    expect("stwcx.", out[8] >> 28, 2);
}

/* And with CCR0[FLSTA]. */
static void integer_accesses_are_aligned_under_flsta(void)
{
    static const struct { const u32 *code; u32 off, esr; } cases[] = {
        { align_lwarx, 2, 0 }, { align_lwarx, 1, 0 }, { align_stwcx, 3, ESR_ST },
        { align_lwz, 1, 0 }, { align_sth, 1, ESR_ST }, { align_lmw, 2, 0 },
    };
    u32 ccr0 = mfspr(CCR0);
    tlb_set(3, EA | TLB_TS, SIZE_4K, FREE, ALL);
    mtspr(CCR0, ccr0 | CCR0_FLSTA);
    for (u32 n = 0; n < 6; n++) {
        at("case", n);
        expect_alignment(cases[n].code, EA + cases[n].off, cases[n].esr);
        in[3] = EA + 0x20;
        run_to_end(cases[n].code, USER);
    }
    /* Of bytes each is aligned. */
    in[3] = EA + 1;
    run_to_end(align_lbz, USER);
    in[3] = EA + 1;
    run_to_end(align_lswi, USER);
    mtspr(CCR0, ccr0);
}

static void floats_need_words_in_one_quadword(void)
{
    static const struct { const u32 *code; u32 off, esr; } cases[] = {
        { align_lfd, 2, ESR_FP }, { align_stfs, 1, ESR_FP | ESR_ST }, { align_lfs, 3, ESR_FP },
        { align_lfd, 12, ESR_FP }, { align_stfd, 0x1C, ESR_FP | ESR_ST },
    };
    tlb_set(3, EA | TLB_TS, SIZE_4K, FREE, ALL);
    for (u32 n = 0; n < 5; n++) {
        at("case", n);
        expect_alignment(cases[n].code, EA + cases[n].off, cases[n].esr);
    }
    for (u32 off = 0; off <= 8; off += 4) {
        at("offset", off);
        in[3] = EA + off;
        run_to_end(align_lfd, USER);
        in[3] = EA + off + 4;
        run_to_end(align_stfs, USER);
    }
}

static void dcbz_needs_a_page_that_is_cached(void)
{
    tlb_set(3, EA | TLB_TS, SIZE_4K, FREE, ALL);
    fill(FREE, 64, 1);
    /* dcbz where it cannot go into a cache. */
    for (int n = 0; n < 2; n++) {
        at("dcbz", n);
        tlbwe2(3, ALL | (n ? TLB_W : TLB_I | TLB_G));
        in[3] = EA + 0x24;
        run(align_dcbz, USER);
        expect_non_critical(ALIGNMENT, align_dcbz, USER);
        expect("ESR", end.esr, ESR_MCI | ESR_ST);
        expect("DEAR", end.dear, EA + 0x24);
        expect("memory", load32(FREE + 0x20), 0x21222324);
    }
    tlbwe2(3, ALL);
    in[3] = EA + 0x24;
    run_to_end(align_dcbz, USER);
    expect("memory", load32(FREE + 0x20) | load32(FREE + 0x3C), 0);
}

static void external_input(void)
{
    u32 msr = MSR_EE | MSR_CE | MSR_ME | MSR_PR | MSR_DE;
    uic_request(0);
    run_to_end(nothing, msr & ~MSR_EE);
    run(spin, msr);
    expect_non_critical(EXTERNAL_INPUT, spin, msr);
    expect("ESR", end.esr, OLD_ESR);
    /* A level: it comes again. */
    run(spin, msr);
    expect_non_critical(EXTERNAL_INPUT, spin, msr);
    uic_quiet();
    run_to_end(nothing, msr);
}

static void critical_input(void)
{
    u32 msr = MSR_EE | MSR_CE | MSR_ME | MSR_PR | MSR_DE | MSR_FP;
    uic_request(1);
    run_to_end(nothing, msr & ~MSR_CE);
    run(spin, msr);
    expect_critical(CRITICAL_INPUT, spin, msr);
    expect("ESR", end.esr, OLD_ESR);
    uic_quiet();
    run_to_end(nothing, msr);
}

static void decrementer(void)
{
    u32 msr = MSR_EE | MSR_CE | MSR_ME | MSR_PR | MSR_DE | MSR_IS | MSR_DS;
    mtspr(TCR, mfspr(TCR) | TCR_DIE);
    mtspr(DEC, 1);
    run_to_end(nothing, msr & ~MSR_EE);
    run(spin, msr);
    expect_non_critical(DECREMENTER, spin, msr);
    expect("TSR", end.tsr & TSR_DIS, TSR_DIS);
}

static void fixed_interval(void)
{
    u32 msr = MSR_EE | MSR_CE | MSR_ME | MSR_PR;
    mtspr(TBL_W, 0);
    mtspr(TCR, (mfspr(TCR) & ~0x03000000) | TCR_FIE);
    mtspr(TBL_W, 0x1000);
    run_to_end(nothing, msr & ~MSR_EE);
    run(nothing, msr);
    expect_non_critical(FIXED_INTERVAL, nothing, msr);
    expect("TSR", end.tsr & TSR_FIS, TSR_FIS);
}

static void watchdog(void)
{
    u32 msr = MSR_EE | MSR_CE | MSR_ME | MSR_PR;
    watchdog_request();
    run_to_end(nothing, msr & ~MSR_CE);
    run(nothing, msr);
    expect_critical(WATCHDOG, nothing, msr);
    expect("TSR", end.tsr & (TSR_ENW | TSR_WIS), TSR_ENW | TSR_WIS);
}

static void debug_trap_event(void)
{
    mtspr(DBCR0, DBCR0_IDM | DBG_TRAP);
    u32 msr = MSR_CE | MSR_ME | MSR_PR | MSR_DE;
    run(trap_word, msr);
    expect_critical(DEBUG, trap_word + 1, msr);
    expect("DBSR", end.dbsr, DBG_TRAP);
    expect("ESR", end.esr, OLD_ESR);
}

/* A fetch from where no memory answers. */
static void machine_check(void)
{
    u32 msr = MSR_EE | MSR_CE | MSR_ME | MSR_DE | MSR_PR;
    tlb_set(3, EA, SIZE_4K, 0xD0000000, ALL | TLB_I | TLB_G);
    run((void *)EA, msr);
    expect("the interrupt", end.vector, MACHINE_CHECK);
    expect("CSRR0", end.csrr[0], EA);
    expect("CSRR1", end.csrr[1], msr);
    expect("MCSRR0", end.mcsrr[0], EA);
    expect("MCSRR1", end.mcsrr[1], msr);
    expect("MSR in the handler", end.handler_msr, 0);
    expect("ESR", end.esr & ESR_MCI, ESR_MCI);
    expect("MCSR", end.mcsr, 0xC0000000);
    mtspr(MCSR, 0x40000000);
    expect("MCSR, IB cleared", mfspr(MCSR), 0x80000000);
}

/* What an unclaimed address answers here: QEMU's choice, that boot wrappers count on. */
static void unclaimed_addresses_read_0(void)
{
    tlb_set(3, EA, SIZE_4K, 0xD0000000, ALL | TLB_I | TLB_G);
    store32(EA, 0x12345678);
    expect("the word", load32(EA), 0);
}

/* The MSR and what writes it. */

CODE(msr_write, "mtmsr 3\n isync\n mfmsr 4\n mtmsr 5\n isync\n");
CODE(msr_ee, "wrteei 1\n mfmsr 4\n wrteei 0\n mfmsr 5\n wrtee 3\n mfmsr 6\n wrtee 7\n mfmsr 8\n");

static void the_msr_has_twelve_bits(void)
{
    in[3] = 0xFFFFFFFF & ~(MSR_WE | MSR_PR | MSR_EE | MSR_CE | MSR_DE);
    in[5] = MSR_ME;
    run_to_end(msr_write, MSR_ME);
    expect("all that can be set here", out[4],
           MSR_FP | MSR_ME | MSR_FE0 | MSR_DWE | MSR_FE1 | MSR_IS | MSR_DS);
    in[3] = 0;
    in[5] = MSR_ME;
    run_to_end(msr_write, MSR_ME | MSR_FP);
    expect("mtmsr clears ME", out[4], 0);
    expect("mtmsr sets ME", end.msr, MSR_ME);
    in[3] = 0xFFFFFFFF;
    in[7] = 0xFFFF7FFF;
    run_to_end(msr_ee, MSR_ME | MSR_FP);
    expect("wrteei 1", out[4], MSR_ME | MSR_FP | MSR_EE);
    expect("wrteei 0", out[5], MSR_ME | MSR_FP);
    expect("wrtee of ones", out[6], MSR_ME | MSR_FP | MSR_EE);
    expect("wrtee without EE", out[8], MSR_ME | MSR_FP);
}

CODE(return_rfci, "mtspr 58,3\n mtspr 59,4\n rfci\n");
CODE(return_rfmci, "mtspr 570,3\n mtspr 571,4\n rfmci\n");
CODE(return_rfi, "mtspr 26,3\n mtspr 27,4\n rfi\n");

static void each_return_takes_its_own_pair(void)
{
    static const u32 *codes[] = { return_rfi, return_rfci, return_rfmci };
    for (int n = 0; n < 3; n++) {
        at("return", n);
        in[3] = (u32)nothing | 3; /* the two low bits do not exist */
        in[4] = USER;
        run(codes[n], MSR_ME);
        expect("the end", end.vector, SYSTEM_CALL);
        expect("its address", end.pc, (u32)(nothing + 2));
        expect("its MSR", end.msr, USER);
    }
}

static void vectors_have_16_and_12_bits(void)
{
    u32 ivpr = mfspr(IVPR), ivor9 = mfspr(IVOR0 + 9);
    mtspr(IVPR, 0xFFFFFFFF);
    u32 read_ivpr = mfspr(IVPR);
    mtspr(IVPR, ivpr);
    mtspr(IVOR0 + 9, 0xFFFFFFFF);
    u32 read_ivor = mfspr(IVOR0 + 9);
    mtspr(IVOR0 + 9, ivor9);
    expect("IVPR", read_ivpr, 0xFFFF0000);
    expect("IVOR9", read_ivor, 0x0000FFF0);
    mtspr(PID, 0xFFFFFFFF);
    u32 pid = mfspr(PID);
    mtspr(PID, 0);
    expect("PID", pid, 0xFF);
    expect("PVR", mfspr(PVR), 0x422218D3);
}

const struct test tests[] = {
    TEST(system_call), TEST(program_illegal), TEST(program_privileged), TEST(sprs_of_problem_state),
    TEST(program_trap), TEST(program_floating_point), TEST(fp_unavailable), TEST(data_tlb),
    TEST(data_storage), TEST(hints_never_fault), TEST(instruction_tlb), TEST(instruction_storage),
    TEST(integer_accesses_need_no_alignment), TEST(integer_accesses_are_aligned_under_flsta),
    TEST(floats_need_words_in_one_quadword), TEST(dcbz_needs_a_page_that_is_cached),
    TEST(external_input), TEST(critical_input), TEST(decrementer), TEST(fixed_interval),
    TEST(watchdog), TEST(debug_trap_event), TEST(machine_check), TEST(unclaimed_addresses_read_0),
    TEST(the_msr_has_twelve_bits), TEST(each_return_takes_its_own_pair),
    TEST(vectors_have_16_and_12_bits), {},
};
