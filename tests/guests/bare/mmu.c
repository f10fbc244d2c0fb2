/* The TLB: sizes, address spaces, PIDs, permissions, byte order, its instructions; page crossings. */
#include "bare.h"

CODE(load, "lwz 4,0(3)\n");
CODE(store, "stw 4,0(3)\n");

/* A load or a store in `msr`; 0 when it completes. */
static int access(const u32 *code, u32 ea, u32 value, u32 msr)
{
    in[3] = ea;
    in[4] = value;
    int vector = run(code, msr);
    return vector == SYSTEM_CALL ? 0 : vector;
}

static const struct { u32 code, bytes, real; } sizes[] = {
    { SIZE_1K, 1u << 10, FREE + (1u << 10) }, { SIZE_4K, 1u << 12, FREE + (1u << 12) },
    { SIZE_16K, 1u << 14, FREE + (1u << 14) }, { SIZE_64K, 1u << 16, FREE + (1u << 16) },
    { SIZE_256K, 1u << 18, FREE + (1u << 18) }, { SIZE_1M, 1u << 20, FREE + (1u << 20) },
    { SIZE_16M, 1u << 24, FREE }, { SIZE_256M, 1u << 28, 0 },
};

static void one_size(int n)
{
    u32 bytes = sizes[n].bytes, real = sizes[n].real;
    u32 ea = n == 7 ? 0x50000000 : EA + 0x01000000;
    /* Offsets in the page where nothing else is: its last words, and for all but the largest its
       first ones. The largest begins with the guest itself at 1 MiB. */
    u32 low = n == 7 ? FREE : 0;
    at("page size", bytes);
    tlb_set(5, ea, sizes[n].code, real, ALL);
    for (int user = 0; user < 2; user++) {
        u32 msr = MSR_ME | (user ? MSR_PR : 0);
        static const u32 steps[] = { 0, 4, 8 };
        for (int step = 0; step < 3; step++) {
            u32 offsets[2] = { low + steps[step], bytes - 4 - steps[step] };
            for (int side = 0; side < 2; side++) {
                u32 offset = offsets[side], kept = load32(real + offset);
                store32(real + offset, 0xA5000000 | offset);
                expect("load", access(load, ea + offset, 0, msr), 0);
                expect("its word", out[4], 0xA5000000 | offset);
                expect("store", access(store, ea + offset, 0x5A5A5A5A, msr), 0);
                expect("its memory", load32(real + offset), 0x5A5A5A5A);
                store32(real + offset, kept);
            }
        }
        expect("load below", access(load, ea - 4, 0, msr), DATA_TLB);
        expect("DEAR below", end.dear, ea - 4);
        expect("load above", access(load, ea + bytes, 0, msr), DATA_TLB);
        expect("DEAR above", end.dear, ea + bytes);
        expect("store above", access(store, ea + bytes, 0, msr), DATA_TLB);
        expect("run below", run((void *)(ea - 4), msr), INSTRUCTION_TLB);
        expect("run above", run((void *)(ea + bytes), msr), INSTRUCTION_TLB);
        /* Code in its last two words. */
        u32 last = real + bytes - 8, kept[2] = { load32(last), load32(last + 4) };
        static const u32 words[] = { 0x38601234, 0x44000002 }; /* li 3,0x1234; sc */
        copy_code(last, words, 2);
        expect("run at the end", run((void *)(ea + bytes - 8), msr), SYSTEM_CALL);
        expect("GPR3", out[3], 0x1234);
        expect("the address after it", end.pc, ea + bytes);
        copy_code(last, kept, 2);
    }
    tlb_clear(5);
    expect("after it is gone", access(load, ea, 0, MSR_ME), DATA_TLB);
    expect("code after it is gone", run((void *)(ea + bytes - 8), MSR_ME), INSTRUCTION_TLB);
}

static void page_1k(void) { one_size(0); }
static void page_4k(void) { one_size(1); }
static void page_16k(void) { one_size(2); }
static void page_64k(void) { one_size(3); }
static void page_256k(void) { one_size(4); }
static void page_1m(void) { one_size(5); }
static void page_16m(void) { one_size(6); }
static void page_256m(void) { one_size(7); }

/* Address bits inside the page do not take part, neither in EPN nor in RPN. */
static void low_bits_of_epn_and_rpn_do_not_count(void)
{
    store32(FREE + 0x10000, 0x11111111);
    store32(FREE + 0x1FFFC, 0x22222222);
    tlb_set(5, EA | 0x3400, SIZE_64K, FREE + 0x10000 + 0x2C00, ALL);
    expect("first", access(load, EA, 0, MSR_ME), 0);
    expect("first word", out[4], 0x11111111);
    expect("last", access(load, EA + 0xFFFC, 0, MSR_ME), 0);
    expect("last word", out[4], 0x22222222);
    expect("word 0 reads back", tlbre0(5), EA | 0x3400 | TLB_V | SIZE_64K);
    expect("word 1 reads back", tlbre1(5), FREE + 0x10000 + 0x2C00);
}

/* Four 1 KiB pages next to each other, each elsewhere in memory. */
static void pages_of_1k_are_apart(void)
{
    for (u32 n = 0; n < 4; n++) {
        u32 real = FREE + (3 - n) * 0x400;
        store32(real, 0xABC00000 + n);
        store32(real + 0x3FC, 0xDEF00000 + n);
        tlb_set(5 + n, EA + n * 0x400, SIZE_1K, real, n == 2 ? SR : ALL);
    }
    for (u32 n = 0; n < 4; n++) {
        at("page", n);
        expect("first", access(load, EA + n * 0x400, 0, MSR_ME), 0);
        expect("its word", out[4], 0xABC00000 + n);
        expect("last", access(load, EA + n * 0x400 + 0x3FC, 0, MSR_ME), 0);
        expect("its word", out[4], 0xDEF00000 + n);
        expect("store", access(store, EA + n * 0x400, 1, MSR_ME), n == 2 ? DATA_STORAGE : 0);
    }
}

CODE(answer, "lwz 4,0(3)\n");

static void the_address_space_is_part_of_the_match(void)
{
    /* The same address in both spaces, data and code. */
    static const u32 one[] = { 0x38800001, 0x44000002 }, two[] = { 0x38800002, 0x44000002 };
    copy_code(FREE, one, 2);
    copy_code(FREE + 0x1000, two, 2);
    tlb_set(5, EA, SIZE_4K, FREE, ALL);
    tlb_set(6, EA | TLB_TS, SIZE_4K, FREE + 0x1000, ALL);
    for (int user = 0; user < 2; user++)
        for (int n = 0; n < 4; n++) {
            u32 msr = MSR_ME | (user ? MSR_PR : 0) | (n & 1 ? MSR_IS : 0) | (n & 2 ? MSR_DS : 0);
            at("MSR", msr);
            expect("load", access(answer, EA, 0, msr), 0);
            expect("its word", out[4], n & 2 ? two[0] : one[0]);
            expect("run", run((void *)EA, msr), SYSTEM_CALL);
            expect("its answer", out[4], n & 1 ? 2 : 1);
        }
    tlb_clear(6);
    expect("load from what is only in space 0", access(load, EA, 0, MSR_ME | MSR_DS), DATA_TLB);
    expect("run what is only in space 0", run((void *)EA, MSR_ME | MSR_IS), INSTRUCTION_TLB);
    expect("load with IS", access(load, EA, 0, MSR_ME | MSR_IS), 0);
    expect("run with DS", run((void *)EA, MSR_ME | MSR_DS), SYSTEM_CALL);
}

static void the_pid_is_part_of_the_match(void)
{
    static const u8 pids[] = { 1, 2, 127, 128, 255 };
    for (u32 n = 0; n < 5; n++) {
        u32 words[] = { 0x38800000 | pids[n], 0x44000002 };
        copy_code(FREE + n * 0x1000, words, 2);
        tlb_set_tid(10 + n, EA, SIZE_4K, FREE + n * 0x1000, ALL, pids[n]);
    }
    tlb_set(20, EA + 0x1000, SIZE_4K, FREE, ALL);
    for (int round = 0; round < 3; round++)
        for (u32 n = 0; n < 5; n++) {
            at("PID", pids[n]);
            mtspr(PID, pids[n]);
            expect("load", access(load, EA, 0, MSR_ME | MSR_PR), 0);
            expect("its word", out[4], 0x38800000 | pids[n]);
            expect("run", run((void *)EA, MSR_ME | MSR_PR), SYSTEM_CALL);
            expect("its answer", out[4], pids[n]);
            expect("TID 0", access(load, EA + 0x1000, 0, MSR_ME | MSR_PR), 0);
        }
    mtspr(PID, 3);
    expect("PID 3", access(load, EA, 0, MSR_ME), DATA_TLB);
    mtspr(PID, 0);
    expect("PID 0", access(load, EA, 0, MSR_ME), DATA_TLB);
}

/* All 64 combinations of the permission bits, each with load, store and fetch, user and not. */
static void each_combination_of_permissions(void)
{
    static const u32 words[] = { 0x60000000, 0x44000002 };
    copy_code(FREE, words, 2);
    for (u32 bits = 0; bits < 64; bits++)
        for (int user = 0; user < 2; user++) {
            u32 msr = MSR_ME | (user ? MSR_PR : 0);
            u32 mine = user ? bits >> 3 : bits & 7;
            at("permissions", bits | user << 8);
            tlb_set(5, EA, SIZE_4K, FREE, bits);
            expect("load", access(load, EA + 0x40, 0, msr), mine & 1 ? 0 : DATA_STORAGE);
            expect("store", access(store, EA + 0x40, 0, msr), mine & 2 ? 0 : DATA_STORAGE);
            expect("run", run((void *)EA, msr), mine & 4 ? SYSTEM_CALL : INSTRUCTION_STORAGE);
        }
}

/* The same entry, without a change of it in between: only the state differs. */
static void user_and_supervisor_see_their_own_permissions(void)
{
    tlb_set(5, EA, SIZE_4K, FREE, UR | SR | SW);
    for (int round = 0; round < 3; round++) {
        expect("supervisor stores", access(store, EA, round, MSR_ME), 0);
        expect("user stores", access(store, EA, 9, MSR_ME | MSR_PR), DATA_STORAGE);
        expect("user loads", access(load, EA, 0, MSR_ME | MSR_PR), 0);
        expect("the word", out[4], round);
    }
}

/* Byte order. */

CODE(little_loads, "lwz 4,0(3)\n lhz 5,0(3)\n lha 6,6(3)\n lbz 7,1(3)\n li 14,0\n lwbrx 8,14,3\n"
                   "lhbrx 9,14,3\n lwarx 10,0,3\n lwzu 11,4(3)\n lwz 12,-3(3)\n");
CODE(little_stores, "stw 4,0(3)\n sth 4,4(3)\n stb 4,6(3)\n li 14,8\n stwbrx 4,14,3\n"
                    "li 14,12\n sthbrx 4,14,3\n lwarx 5,0,6\n stwcx. 4,0,6\n stwu 4,17(3)\n");
CODE(little_multiple, "lmw 30,0(3)\n lswi 5,3,7\n stmw 30,16(3)\n addi 3,3,32\n stswi 5,3,7\n");
CODE(little_float, "lfd 1,0(3)\n stfd 1,0(4)\n lfs 2,0(3)\n stfs 2,8(4)\n");

static void little_endian_data(void)
{
    tlb_set(5, EA, SIZE_4K, FREE, ALL | TLB_E);
    for (int user = 0; user < 2; user++) {
        u32 msr = MSR_ME | MSR_FP | (user ? MSR_PR : 0);
        fill(FREE, 64, 0x81);
        in[3] = EA;
        run_to_end(little_loads, msr);
        expect("lwz", out[4], 0x84838281);
        expect("lhz", out[5], 0x8281);
        expect("lha", out[6], 0xFFFF8887);
        expect("lbz", out[7], 0x82);
        expect("lwbrx", out[8], 0x81828384);
        expect("lhbrx", out[9], 0x8182);
        expect("lwarx", out[10], 0x84838281);
        expect("lwzu", out[11], 0x88878685);
        expect("lwz, misaligned", out[12], 0x85848382);
        expect("the base", out[3], EA + 4);
        in[3] = EA;
        in[4] = 0x11223344;
        in[6] = EA + 24;
        run_to_end(little_stores, msr);
        expect("stw", load32(FREE), 0x44332211);
        expect("sth and stb", load32(FREE + 4) >> 8, 0x443344);
        expect("stwbrx", load32(FREE + 8), 0x11223344);
        expect("sthbrx", load32(FREE + 12) >> 16, 0x3344);
        expect("stwcx.", load32(FREE + 24), 0x44332211);
        expect("stwu, misaligned", load32(FREE + 17), 0x44332211);
        fill(FREE, 64, 1);
        in[3] = EA;
        run_to_end(little_multiple, msr);
        expect("lmw", out[30], 0x04030201);
        expect("lmw, second", out[31], 0x08070605);
        expect("lswi", out[5], 0x01020304);
        expect("lswi, its end", out[6], 0x05060700);
        expect("stmw", load32(FREE + 16), 0x01020304);
        expect("stswi", load32(FREE + 32), 0x01020304);
        store32(FREE, 0);
        store32(FREE + 4, 0x0000F03F); /* 1.0, its bytes turned round */
        in[3] = EA;
        in[4] = EA + 0x40;
        run_to_end(little_float, msr);
        expect("stfd, low bytes", load32(FREE + 0x40), 0);
        expect("stfd, high bytes", load32(FREE + 0x44), 0x0000F03F);
        expect("stfs", load32(FREE + 0x48), 0);
    }
}

static void little_endian_code(void)
{
    /* li 3,0x1234; addi 4,3,1; b over a trap; sc, its bytes turned round. */
    static const u32 words[] = { 0x34126038, 0x01008338, 0x08000048, 0x0800E07F, 0x02000044 };
    copy_code(FREE, words, 5);
    tlb_set(5, EA, SIZE_4K, FREE, ALL | TLB_E);
    for (int user = 0; user < 2; user++) {
        run_to_end((void *)EA, MSR_ME | (user ? MSR_PR : 0));
        expect("GPR3", out[3], 0x1234);
        expect("GPR4", out[4], 0x1235);
        expect("the end", end.pc, EA + 20);
    }
    /* The same page without E is other code: 0x34126038 is addic. */
    tlbwe2(5, ALL);
    expect("big-endian", run((void *)(EA + 16), MSR_ME), PROGRAM);
    tlbwe2(5, ALL | TLB_E);
    expect("little-endian again", run((void *)EA, MSR_ME), SYSTEM_CALL);
}

/* One real page under two addresses, of either byte order. */
static void two_byte_orders_of_one_page(void)
{
    tlb_set(5, EA, SIZE_4K, FREE, ALL | TLB_E);
    tlb_set(6, EA + 0x1000, SIZE_4K, FREE, ALL);
    access(store, EA, 0x01020304, MSR_ME);
    access(load, EA + 0x1000, 0, MSR_ME);
    expect("big-endian", out[4], 0x04030201);
    access(store, EA + 0x1000, 0x0A0B0C0D, MSR_ME);
    access(load, EA, 0, MSR_ME);
    expect("little-endian", out[4], 0x0D0C0B0A);
}

/* The instructions. */

static u32 tlbsx(u32 ea, u32 mmucr, u32 *cr)
{
    u32 index, bits;
    mtspr(MMUCR, mmucr);
    asm volatile("tlbsx. %0, 0, %2; mfcr %1" : "=&r"(index), "=r"(bits) : "r"(ea) : "cr0", "memory");
    *cr = bits >> 28;
    return index;
}

static void tlbsx_finds_by_space_and_tid(void)
{
    u32 cr;
    tlb_set_tid(7, EA, SIZE_16K, FREE, SR, 0x42);
    tlb_set_tid(8, EA | TLB_TS, SIZE_16K, FREE, SR, 0x43);
    tlb_set(9, EA + 0x4000, SIZE_4K, FREE, SR);
    /* What the CPU itself translates with does not matter. */
    mtspr(PID, 0x99);
    expect("TID 0x42", tlbsx(EA + 0x3FFF, 0x42, &cr), 7);
    expect("CR0", cr, 2);
    expect("space 1, TID 0x43", tlbsx(EA + 0x10, 0x10043, &cr), 8);
    expect("CR0", cr, 2);
    expect("any TID", tlbsx(EA + 0x4000, 0x55, &cr), 9);
    expect("CR0", cr, 2);
    tlbsx(EA, 0x43, &cr);
    expect("CR0, TID of the other space", cr, 0);
    tlbsx(EA, 0x10042, &cr);
    expect("CR0, space of the other TID", cr, 0);
    tlbsx(EA + 0x4000, 0x10000, &cr);
    expect("CR0, the other space", cr, 0);
    tlbsx(EA + 0x5000, 0x42, &cr);
    expect("CR0, no page", cr, 0);
    mtspr(PID, 0);
    expect("the guest itself", tlbsx(0x00100000, 0, &cr), 63);
    expect("in space 1", tlbsx(0x00100000, 0x10000, &cr), 62);
}

static void entries_read_back_word_by_word(void)
{
    for (u32 n = 0; n < 60; n++) {
        at("entry", n);
        mtspr(MMUCR, n + 1);
        tlbwe2(n, 0xFFFFFFFF);
        tlbwe1(n, 0xFFFFFFFF);
        tlbwe0(n, 0xFFFFFDFF & ~0xF0); /* not valid, 1 KiB */
        mtspr(MMUCR, 0);
        expect("word 0", tlbre0(n), 0xFFFFFD00);
        expect("TID in MMUCR", mfspr(MMUCR) & 0xFF, n + 1);
        expect("word 1", tlbre1(n), 0xFFFFFC0F);
        expect("word 2", tlbre2(n), 0x0000FFBF);
    }
    for (u32 n = 0; n < 60; n++) {
        at("entry, zero", n);
        mtspr(MMUCR, 0);
        tlbwe2(n, 0);
        tlbwe1(n, 0);
        tlbwe0(n, 0);
        expect("words", tlbre0(n) | tlbre1(n) | tlbre2(n), 0);
    }
    /* Word 1 and 2 leave the TID alone. */
    tlb_set_tid(5, EA, SIZE_4K, FREE, ALL, 0x21);
    mtspr(MMUCR, 0x7F);
    tlbwe1(5, FREE);
    tlbwe2(5, ALL);
    tlbre0(5);
    expect("TID", mfspr(MMUCR) & 0xFF, 0x21);
}

static void one_word_at_a_time_takes_effect_at_once(void)
{
    store32(FREE, 0x1000);
    store32(FREE + 0x1000, 0x2000);
    tlb_set(5, EA, SIZE_4K, FREE, SR | SW | SX);
    expect("before", access(load, EA, 0, MSR_ME), 0);
    expect("its word", out[4], 0x1000);
    tlbwe1(5, FREE + 0x1000);
    expect("another real page", access(load, EA, 0, MSR_ME), 0);
    expect("its word", out[4], 0x2000);
    tlbwe2(5, SR);
    expect("without SW", access(store, EA, 1, MSR_ME), DATA_STORAGE);
    expect("without SX", run((void *)EA, MSR_ME), INSTRUCTION_STORAGE);
    expect("with SR", access(load, EA, 0, MSR_ME), 0);
    tlbwe2(5, 0);
    expect("without SR", access(load, EA, 0, MSR_ME), DATA_STORAGE);
    tlbwe2(5, SR);
    tlbwe0(5, EA | SIZE_4K);
    expect("without V", access(load, EA, 0, MSR_ME), DATA_TLB);
    tlbwe0(5, EA | SIZE_4K | TLB_V | TLB_TS);
    expect("in space 1", access(load, EA, 0, MSR_ME), DATA_TLB);
    tlbwe0(5, EA | SIZE_4K | TLB_V);
    expect("back", access(load, EA, 0, MSR_ME), 0);
    tlbwe0(5, (EA + 0x1000) | SIZE_4K | TLB_V);
    expect("at another address", access(load, EA + 0x1000, 0, MSR_ME), 0);
    expect("no longer at the old one", access(load, EA, 0, MSR_ME), DATA_TLB);
    tlbwe0(5, EA | SIZE_16K | TLB_V);
    expect("larger", access(load, EA + 0x3000, 0, MSR_ME), 0);
    tlbwe0(5, EA | SIZE_4K | TLB_V);
    expect("smaller", access(load, EA + 0x3000, 0, MSR_ME), DATA_TLB);
}

/* Sixty entries in turn over a hundred pages, as a kernel does that replaces round robin. */
static void replaced_entries_no_longer_translate(void)
{
    for (u32 n = 0; n < 100; n++)
        store32(FREE + n * 0x1000, n * 3);
    for (u32 n = 0; n < 180; n++) {
        u32 page = n % 100;
        at("page", n);
        tlb_set(n % 60, EA + page * 0x1000, SIZE_4K, FREE + page * 0x1000, ALL);
        expect("load", access(load, EA + page * 0x1000, 0, MSR_ME | MSR_PR), 0);
        expect("its word", out[4], page * 3);
        if (n >= 60) {
            u32 old = (n - 60) % 100;
            expect("what it replaced", access(load, EA + old * 0x1000, 0, MSR_ME | MSR_PR), DATA_TLB);
        }
        if (n >= 59) {
            u32 oldest = (n - 59) % 100;
            expect("the oldest", access(load, EA + oldest * 0x1000, 0, MSR_ME | MSR_PR), 0);
        }
    }
}

/* Code whose page is replaced runs on in the new page. */
static void code_of_a_replaced_entry_does_not_run(void)
{
    static const u32 one[] = { 0x38600001, 0x44000002 }, two[] = { 0x38600002, 0x44000002 };
    copy_code(FREE, one, 2);
    copy_code(FREE + 0x1000, two, 2);
    for (int round = 0; round < 4; round++) {
        tlb_set(5, EA, SIZE_4K, FREE, ALL);
        run_to_end((void *)EA, MSR_ME | MSR_PR);
        expect("first page", out[3], 1);
        tlbwe1(5, FREE + 0x1000);
        run_to_end((void *)EA, MSR_ME | MSR_PR);
        expect("second page", out[3], 2);
        tlb_clear(5);
        expect("no page", run((void *)EA, MSR_ME | MSR_PR), INSTRUCTION_TLB);
    }
}

/* Accesses over the end of a page. */

CODE(cross_lwz, "lwz 4,0(3)\n");
CODE(cross_lhz, "lhz 4,0(3)\n");
CODE(cross_lwzu, "lwzu 4,2(3)\n");
CODE(cross_lwbrx, "lwbrx 4,0,3\n");
CODE(cross_stw, "stw 4,0(3)\n");
CODE(cross_sth, "sth 4,0(3)\n");
CODE(cross_stwu, "stwu 4,2(3)\n");
CODE(cross_lfd, "lfd 4,0(3)\n");
CODE(cross_stfd, "stfd 4,0(3)\n");
CODE(cross_lmw, "lmw 24,0(3)\n");
CODE(cross_stmw, "stmw 24,0(3)\n");
CODE(cross_lswi, "lswi 24,3,30\n");
CODE(cross_stswi, "stswi 24,3,30\n");
CODE(cross_lswx, "lswx 24,0,3\n");
CODE(cross_stswx, "stswx 24,0,3\n");

static const struct crossing {
    const u32 *code;
    u32 before; /* bytes of it in the first page */
    u32 base;   /* what an update form adds */
    u32 esr, load;
} crossings[] = {
    { cross_lwz, 1, 0, 0, 1 }, { cross_lwz, 3, 0, 0, 1 }, { cross_lhz, 1, 0, 0, 1 },
    { cross_lwzu, 2, 2, 0, 1 }, { cross_lwbrx, 2, 0, 0, 1 },
    { cross_stw, 1, 0, ESR_ST, 0 }, { cross_stw, 2, 0, ESR_ST, 0 }, { cross_stw, 3, 0, ESR_ST, 0 },
    { cross_sth, 1, 0, ESR_ST, 0 }, { cross_stwu, 3, 2, ESR_ST, 0 },
    { cross_lfd, 4, 0, ESR_FP, 1 }, { cross_stfd, 4, 0, ESR_FP | ESR_ST, 0 },
};

/* Two pages, the second of them elsewhere in memory; 0x1000 bytes or 0x400. */
static u32 page_bytes, page_code;

static void crossing_faults(int vector, u32 second_word2)
{
    for (u32 n = 0; n < sizeof crossings / sizeof crossings[0]; n++) {
        const struct crossing *c = &crossings[n];
        u32 ea = EA + page_bytes - c->before;
        for (int user = 0; user < 2; user++) {
            u32 msr = MSR_ME | MSR_FP | (user ? MSR_PR : 0);
            at("crossing", n);
            fill(FREE, 0x2000, 7);
            tlb_set(5, EA, page_code, FREE, ALL);
            tlb_clear(6);
            if (second_word2 != ~0u)
                tlb_set(6, EA + page_bytes, page_code, FREE + 0x1800, second_word2);
            u32 last = load32(FREE + page_bytes - 4);
            in[3] = ea - c->base;
            in[4] = 0x44444444;
            int got = run(c->code, msr);
            if (vector == DATA_STORAGE && c->load && second_word2 & SR) {
                /* Nothing forbids it; but of floats none crosses a quadword. */
                expect("a load", got, c->esr & ESR_FP ? ALIGNMENT : SYSTEM_CALL);
                continue;
            }
            expect("the interrupt", got, vector);
            expect("SRR0", end.pc, (u32)c->code);
            expect("DEAR", end.dear, EA + page_bytes);
            expect("ESR", end.esr, ESR_MCI | c->esr);
            expect("the base", out[3], ea - c->base);
            expect("the register", out[4], 0x44444444);
            expect("memory", load32(FREE + page_bytes - 4), last);
        }
    }
}

static void a_miss_in_the_second_page_changes_nothing(void)
{
    page_bytes = 0x1000, page_code = SIZE_4K;
    crossing_faults(DATA_TLB, ~0u);
    page_bytes = 0x400, page_code = SIZE_1K;
    crossing_faults(DATA_TLB, ~0u);
}

static void no_permission_in_the_second_page_changes_nothing(void)
{
    page_bytes = 0x1000, page_code = SIZE_4K;
    crossing_faults(DATA_STORAGE, SX | UX);
    crossing_faults(DATA_STORAGE, SR | UR);
    page_bytes = 0x400, page_code = SIZE_1K;
    crossing_faults(DATA_STORAGE, SR | UR);
}

static void a_fault_in_the_first_page_names_the_access(void)
{
    for (u32 n = 0; n < sizeof crossings / sizeof crossings[0]; n++) {
        const struct crossing *c = &crossings[n];
        u32 ea = EA + 0x1000 - c->before;
        at("crossing", n);
        fill(FREE + 0x1000, 16, 7);
        tlb_clear(5);
        tlb_set(6, EA + 0x1000, SIZE_4K, FREE + 0x1000, ALL);
        in[3] = ea - c->base;
        in[4] = 0x44444444;
        expect("the interrupt", run(c->code, MSR_ME | MSR_FP), DATA_TLB);
        expect("DEAR", end.dear, ea);
        expect("memory", load32(FREE + 0x1000), 0x0708090A);
        tlb_set(5, EA, SIZE_4K, FREE, SX);
        in[3] = ea - c->base;
        expect("the interrupt", run(c->code, MSR_ME | MSR_FP), DATA_STORAGE);
        expect("DEAR", end.dear, ea);
        expect("memory", load32(FREE + 0x1000), 0x0708090A);
    }
}

static void accesses_cross_into_another_real_page(void)
{
    for (int small = 0; small < 2; small++) {
        u32 bytes = small ? 0x400 : 0x1000;
        at("page size", bytes);
        fill(FREE, 0x4000, 0);
        tlb_set(5, EA, small ? SIZE_1K : SIZE_4K, FREE + 0x2000, ALL);
        tlb_set(6, EA + bytes, small ? SIZE_1K : SIZE_4K, FREE + 0x1000, ALL);
        store32(FREE + 0x2000 + bytes - 4, 0xA1A2A3A4);
        store32(FREE + 0x1000, 0xB1B2B3B4);
        in[3] = EA + bytes - 1;
        run_to_end(cross_lwz, MSR_ME);
        expect("lwz", out[4], 0xA4B1B2B3);
        in[3] = EA + bytes - 5;
        run_to_end(cross_lwzu, MSR_ME);
        expect("lwzu", out[4], 0xA2A3A4B1);
        in[3] = EA + bytes - 2;
        run_to_end(cross_lwbrx, MSR_ME);
        expect("lwbrx", out[4], 0xB2B1A4A3);
        in[3] = EA + bytes - 3;
        in[4] = 0xC1C2C3C4;
        run_to_end(cross_stw, MSR_ME);
        expect("stw, first page", load32(FREE + 0x2000 + bytes - 4), 0xA1C1C2C3);
        expect("stw, second page", load32(FREE + 0x1000), 0xC4B2B3B4);
        expect("not what lies behind the first", load32(FREE + 0x2000 + bytes), bytes == 0x400 ? 0x00010203 : 0x00010203);
    }
}

/* A page that misses is mapped by the handler, and the instruction done again. */

static u32 mapped_page;

static int map_missing(struct frame *frame)
{
    u32 page = frame->dear & ~(page_bytes - 1);
    if (page < EA || page > EA + 4 * page_bytes)
        return 0;
    mapped_page++;
    tlb_set(6 + mapped_page, page, page_code, FREE + 0x4000 * mapped_page, ALL);
    return 1;
}

static void one_restart(const u32 *code, u32 before, u32 bytes, int is_store)
{
    u32 mask = page_bytes - 1;
    at("bytes before the end", before);
    tlb_clear_all();
    mapped_page = 0;
    fill(FREE + 0x4000, 0x1000, 0x11);
    fill(FREE + 0x8000, 0x1000, 0x55);
    /* Only the first page, or neither, is there. */
    hooks[DATA_TLB] = map_missing;
    u32 ea = EA + page_bytes - before;
    in[3] = ea;
    for (int n = 24; n < 32; n++)
        in[n] = 0xF0010203 + n * 0x01010101;
    start_of_run.xer = bytes;
    u32 regs[8];
    for (int n = 0; n < 8; n++)
        regs[n] = in[24 + n];
    u32 real_first = FREE + 0x4000 + ((EA + page_bytes - before) & mask), real_second = FREE + 0x8000;
    run_to_end(code, MSR_ME | MSR_PR);
    expect("interrupts", taken_count, 3);
    expect("the base", out[3], ea);
    for (u32 n = 0; n < bytes; n++) {
        u8 memory = load8(n < before ? real_first + n : real_second + n - before);
        u8 want = is_store ? regs[n / 4] >> (24 - 8 * (n % 4))
                           : (n < before ? 0x11 + ((ea + n) & mask) : 0x55 + n - before);
        expect("memory", memory, want);
        u8 reg = out[24 + n / 4] >> (24 - 8 * (n % 4));
        expect("register", reg, want);
    }
    if (!is_store && bytes % 4)
        expect("the rest of the last register", out[24 + bytes / 4] & (0xFFFFFFFFu >> (8 * (bytes % 4))), 0);
    expect("behind it", load8(real_second + bytes - before), (u8)(0x55 + bytes - before));
    expect("in front of it", load8(real_first - 1), (u8)(0x11 + ((ea - 1) & mask)));
}

static void restarts(const u32 *code, u32 bytes, u32 step, int is_store)
{
    page_bytes = 0x1000, page_code = SIZE_4K;
    for (u32 before = step; before < bytes; before += step)
        one_restart(code, before, bytes, is_store);
    page_bytes = 0x400, page_code = SIZE_1K;
    for (u32 before = step; before < bytes; before += step)
        one_restart(code, before, bytes, is_store);
}

static void lmw_restarts(void) { restarts(cross_lmw, 32, 4, 0); }
static void stmw_restarts(void) { restarts(cross_stmw, 32, 4, 1); }
static void lswi_restarts(void) { restarts(cross_lswi, 30, 1, 0); }
static void stswi_restarts(void) { restarts(cross_stswi, 30, 1, 1); }

static void lswx_restarts(void)
{
    restarts(cross_lswx, 29, 1, 0);
    restarts(cross_lswx, 5, 1, 0);
}

static void stswx_restarts(void)
{
    restarts(cross_stswx, 31, 1, 1);
    restarts(cross_stswx, 6, 1, 1);
}

static void a_string_of_no_bytes_touches_nothing(void)
{
    in[3] = EA;
    run_to_end(cross_lswx, MSR_ME);
    in[3] = EA;
    run_to_end(cross_stswx, MSR_ME);
}

/* Code that runs over the end of its page. */
static void a_fetch_in_the_next_page_misses_there(void)
{
    static const u32 words[] = { 0x38630001, 0x38630001 };
    copy_code(FREE + 0xFF8, words, 2);
    tlb_set(5, EA, SIZE_4K, FREE, ALL);
    expect("the interrupt", run((void *)(EA + 0xFF8), MSR_ME | MSR_PR), INSTRUCTION_TLB);
    expect("SRR0", end.pc, EA + 0x1000);
    expect("GPR3", out[3], 2);
    tlb_set(6, EA + 0x1000, SIZE_4K, FREE + 0x3000, ALL & ~UX);
    expect("the interrupt", run((void *)(EA + 0xFF8), MSR_ME | MSR_PR), INSTRUCTION_STORAGE);
    expect("SRR0", end.pc, EA + 0x1000);
    static const u32 rest[] = { 0x38630010, 0x44000002 };
    copy_code(FREE + 0x3000, rest, 2);
    tlbwe2(6, ALL);
    run_to_end((void *)(EA + 0xFF8), MSR_ME | MSR_PR);
    expect("GPR3 over both", out[3], 0x12);
}

/* The last page of the address space and the first: an access wraps round. */
static void accesses_wrap_at_the_end_of_the_address_space(void)
{
    tlb_set(5, 0xFFFFF000, SIZE_4K, FREE, ALL);
    store32(FREE + 0xFFC, 0x01020304);
    in[3] = 0xFFFFFFFC;
    run_to_end(cross_lwz, MSR_ME);
    expect("the last word", out[4], 0x01020304);
    u32 first = load32(0);
    in[3] = 0xFFFFFFFE;
    run_to_end(cross_lwz, MSR_ME);
    expect("over the end", out[4], 0x03040000 | first >> 16);
}

const struct test tests[] = {
    TEST(page_1k), TEST(page_4k), TEST(page_16k), TEST(page_64k), TEST(page_256k), TEST(page_1m),
    TEST(page_16m), TEST(page_256m), TEST(low_bits_of_epn_and_rpn_do_not_count),
    TEST(pages_of_1k_are_apart), TEST(the_address_space_is_part_of_the_match),
    TEST(the_pid_is_part_of_the_match), TEST(each_combination_of_permissions),
    TEST(user_and_supervisor_see_their_own_permissions), TEST(little_endian_data),
    TEST(little_endian_code), TEST(two_byte_orders_of_one_page),
    TEST(tlbsx_finds_by_space_and_tid), TEST(entries_read_back_word_by_word),
    TEST(one_word_at_a_time_takes_effect_at_once), TEST(replaced_entries_no_longer_translate),
    TEST(code_of_a_replaced_entry_does_not_run), TEST(a_miss_in_the_second_page_changes_nothing),
    TEST(no_permission_in_the_second_page_changes_nothing),
    TEST(a_fault_in_the_first_page_names_the_access),
    TEST(accesses_cross_into_another_real_page), TEST(lmw_restarts), TEST(stmw_restarts),
    TEST(lswi_restarts), TEST(stswi_restarts), TEST(lswx_restarts), TEST(stswx_restarts),
    TEST(a_string_of_no_bytes_touches_nothing), TEST(a_fetch_in_the_next_page_misses_there),
    TEST(accesses_wrap_at_the_end_of_the_address_space), {},
};
