/* Code that changes: with and without the manual's sequence, in its own page, another, an alias. */
#include "bare.h"

#define LI3(n) (0x38600000 | (n))
#define SC 0x44000002
#define MODE (MSR_ME | MSR_PR)

/* How the manual wants it (section 3.1: dcbst, msync, icbi, msync, isync). */
static void store_code(u32 address, u32 word)
{
    store32(address, word);
    asm volatile("dcbst 0,%0; msync; icbi 0,%0; msync; isync" : : "r"(address) : "memory");
}

static void routine(u32 address, u32 answer)
{
    store_code(address, LI3(answer));
    store_code(address + 4, SC);
}

static void changed_from_outside_with_the_sequence(void)
{
    for (u32 n = 0; n < 50; n++) {
        at("round", n);
        routine(FREE, n);
        run_to_end((void *)FREE, MODE);
        expect("the answer", out[3], n);
    }
}

static void changed_from_outside_without_the_sequence(void)
{
    store32(FREE + 4, SC);
    for (u32 n = 0; n < 50; n++) {
        at("round", n);
        store32(FREE, LI3(n));
        run_to_end((void *)FREE, MODE);
        expect("the answer", out[3], n);
    }
}

static void changed_byte_by_byte(void)
{
    routine(FREE, 0);
    for (u32 n = 0; n < 50; n++) {
        at("round", n);
        store8(FREE + 3, n);
        run_to_end((void *)FREE, MODE);
        expect("the answer", out[3], n);
    }
}

static void changed_through_another_address(void)
{
    tlb_set(5, EA, SIZE_4K, FREE, ALL);
    tlb_set(6, EA + 0x10000, SIZE_1K, FREE, ALL);
    routine(FREE, 0);
    for (u32 n = 0; n < 30; n++) {
        at("round", n);
        store32(EA, LI3(3 * n));
        run_to_end((void *)FREE, MODE);
        expect("stored at its second address", out[3], 3 * n);
        store32(FREE, LI3(3 * n + 1));
        run_to_end((void *)EA, MODE);
        expect("run at its second address", out[3], 3 * n + 1);
        store32(EA + 0x10000, LI3(3 * n + 2));
        run_to_end((void *)EA, MODE);
        expect("stored through a small page", out[3], 3 * n + 2);
        run_to_end((void *)(EA + 0x10000), MODE);
        expect("run through a small page", out[3], 3 * n + 2);
    }
}

/* Stores into the instruction behind it, in the same page, with the sequence and without. */
CODE(self_with, "stw 4,32(5)\n addi 6,5,32\n dcbst 0,6\n msync\n icbi 0,6\n msync\n isync\n nop\n"
                "li 3,1\n");
CODE(self_without, "stw 4,12(5)\n nop\n nop\n li 3,1\n");
CODE(self_next, "stw 4,4(5)\n li 3,1\n");

static void one_self(const u32 *code, u32 words, u32 at_word)
{
    for (u32 n = 0; n < 20; n++) {
        at("round", n);
        copy_code(FREE, code, words);
        /* Once unchanged, so that it has run before. */
        in[4] = LI3(1);
        in[5] = FREE;
        run_to_end((void *)FREE, MODE);
        expect("unchanged", out[3], 1);
        in[4] = LI3(100 + n);
        in[5] = FREE;
        run_to_end((void *)FREE, MODE);
        expect("changed", out[3], 100 + n);
        expect("memory", load32(FREE + 4 * at_word), LI3(100 + n));
    }
}

static void changes_itself_with_the_sequence(void) { one_self(self_with, 10, 8); }
static void changes_itself_without_the_sequence(void) { one_self(self_without, 5, 3); }
static void changes_its_next_instruction(void) { one_self(self_next, 3, 1); }

/* A loop that increments the immediate of its own addi, each time round. */
CODE(growing, "mtctr 3\n 1: addi 4,4,0\n lwz 6,4(5)\n addi 6,6,1\n stw 6,4(5)\n bdnz 1b\n");

static void a_loop_changes_itself_each_time_round(void)
{
    for (int round = 0; round < 3; round++) {
        copy_code(FREE, growing, 7);
        in[3] = 200;
        in[5] = FREE;
        run_to_end((void *)FREE, MODE);
        expect("0 + 1 + ... + 199", out[4], 19900);
    }
}

/* Calls into another page, which it changes after each call. */
CODE(caller, "mtctr 3\n mflr 9\n 1: mtlr 5\n blrl\n add 4,4,3\n lwz 6,0(5)\n addi 6,6,1\n"
             "stw 6,0(5)\n bdnz 1b\n mtlr 9\n");

static void a_loop_changes_what_it_calls(void)
{
    static const u32 words[] = { LI3(1), 0x4E800020 };
    copy_code(FREE + 0x5000, words, 2);
    in[3] = 100;
    in[5] = FREE + 0x5000;
    run_to_end(caller, MODE);
    expect("1 + 2 + ... + 100", out[4], 5050);
}

/* A hot loop, patched between runs: the word that ends it, and one in the middle. */
CODE(hot, "mtctr 3\n 1: addi 4,4,1\n addi 5,5,1\n bdnz 1b\n");

static void a_hot_loop_is_patched(void)
{
    copy_code(FREE, hot, 5);
    for (u32 n = 1; n < 8; n++) {
        at("round", n);
        store32(FREE + 8, 0x38A50000 | n);
        in[3] = 3000;
        run_to_end((void *)FREE, MODE);
        expect("GPR4", out[4], 3000);
        expect("GPR5", out[5], 3000 * n);
    }
}

/* Stores of every kind reach the code. */
CODE(by_stmw, "stmw 30,0(3)\n");
CODE(by_stwcx, "lwarx 5,0,3\n stwcx. 30,0,3\n");
CODE(by_stswi, "stswi 30,3,8\n");
CODE(by_stwbrx, "stwbrx 29,0,3\n");
CODE(by_stfd, "stfd 1,0(3)\n");
CODE(by_dcbz, "dcbz 0,3\n");
CODE(load_double, "lfd 1,0(3)\n lwz 4,0(6)\n");

static void every_store_changes_code(void)
{
    static const u32 *const stores[] = { by_stmw, by_stwcx, by_stswi, by_stwbrx, by_stfd };
    for (u32 n = 0; n < 5; n++)
        for (int user = 0; user < 2; user++) {
            u32 msr = MSR_ME | MSR_FP | (user ? MSR_PR : 0);
            at("store", n);
            routine(FREE, 7);
            run_to_end((void *)FREE, msr);
            expect("before", out[3], 7);
            store32(FREE + 0x100, LI3(40 + n));
            store32(FREE + 0x104, SC);
            in[3] = FREE + 0x100;
            in[6] = FREE;
            run_to_end(load_double, msr);
            in[3] = FREE;
            in[29] = 0x00006038 | (40 + n) << 24;
            in[30] = LI3(40 + n);
            in[31] = SC;
            run_to_end(stores[n], msr);
            run_to_end((void *)FREE, msr);
            expect("after", out[3], 40 + n);
        }
    at("dcbz", 0);
    routine(FREE, 7);
    run_to_end((void *)FREE, MODE);
    in[3] = FREE;
    run_to_end(by_dcbz, MODE);
    expect("words of 0 are illegal", run((void *)FREE, MODE), PROGRAM);
    expect("SRR0", end.pc, FREE);
}

/* A store that crosses from a data page into a code page. */
CODE(crossing_store, "stw 4,0(3)\n");

static void a_store_over_a_page_end_changes_code(void)
{
    routine(FREE + 0x1000, 0);
    for (u32 n = 1; n < 20; n++) {
        at("round", n);
        run_to_end((void *)(FREE + 0x1000), MODE);
        expect("the answer before", out[3], n - 1 ? (n - 1) << 8 | 0x77 : 0);
        /* The last byte of the one page, three of the other: 38 60 nn. */
        in[3] = FREE + 0xFFF;
        in[4] = 0xAA386000 | n;
        run_to_end(crossing_store, MODE);
        store8(FREE + 0x1003, 0x77);
    }
}

/* Another real page under the same address: its code runs, and the old is not forgotten. */
static void a_mapping_changes_under_code(void)
{
    routine(FREE, 1);
    routine(FREE + 0x1000, 2);
    for (u32 n = 0; n < 20; n++) {
        tlb_set(5, EA, SIZE_4K, FREE + (n & 1) * 0x1000, ALL);
        run_to_end((void *)EA, MODE);
        expect("the answer", out[3], 1 + (n & 1));
    }
    /* It changes while it is not mapped there. */
    routine(FREE + 0x1000, 3);
    tlb_set(5, EA, SIZE_4K, FREE + 0x1000, ALL);
    run_to_end((void *)EA, MODE);
    expect("changed meanwhile", out[3], 3);
}

/* iccci and dccci throw nothing away that counts. */
static void invalidating_the_caches_keeps_memory(void)
{
    routine(FREE, 5);
    store32(FREE + 0x200, 0x600DDA7A);
    run_to_end((void *)FREE, MODE);
    for (int n = 0; n < 10; n++) {
        asm volatile("iccci 0,0; isync" : : : "memory");
        run_to_end((void *)FREE, MODE);
        expect("the answer", out[3], 5);
    }
    store32(FREE, LI3(6));
    asm volatile("iccci 0,0; isync" : : : "memory");
    run_to_end((void *)FREE, MODE);
    expect("changed, then iccci", out[3], 6);
    expect("data", load32(FREE + 0x200), 0x600DDA7A);
}

/* The same bytes as data only, right beside code that runs: nothing is lost. */
CODE(neighbour, "mtctr 3\n 1: lwz 6,64(5)\n addi 6,6,1\n stw 6,64(5)\n bdnz 1b\n");

static void data_beside_code(void)
{
    copy_code(FREE, neighbour, 6);
    store32(FREE + 64, 0);
    in[3] = 5000;
    in[5] = FREE;
    run_to_end((void *)FREE, MODE);
    expect("the counter", load32(FREE + 64), 5000);
}

const struct test tests[] = {
    TEST(changed_from_outside_with_the_sequence), TEST(changed_from_outside_without_the_sequence),
    TEST(changed_byte_by_byte), TEST(changed_through_another_address),
    TEST(changes_itself_with_the_sequence), TEST(changes_itself_without_the_sequence),
    TEST(changes_its_next_instruction), TEST(a_loop_changes_itself_each_time_round),
    TEST(a_loop_changes_what_it_calls), TEST(a_hot_loop_is_patched),
    TEST(every_store_changes_code), TEST(a_store_over_a_page_end_changes_code),
    TEST(a_mapping_changes_under_code), TEST(invalidating_the_caches_keeps_memory),
    TEST(data_beside_code), {},
};
