/* Integers of 8 to 64 bits: every operator over edge values, and a stream of random ones. */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>

static const uint64_t edges[] = {
    0, 1, 2, 7, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000,
    0xFFFFFFFF, 0x100000000, 0x7FFFFFFFFFFFFFFF, 0x8000000000000000, 0xFFFFFFFFFFFFFFFF,
    0x123456789ABCDEF0, 0x5555555555555555, 0xAAAAAAAAAAAAAAAA, 1000000007,
};
#define EDGES (sizeof edges / sizeof edges[0])

static uint64_t digest = 14695981039346656037u;

static void mix(uint64_t value)
{
    for (int n = 0; n < 8; n++) {
        digest = (digest ^ (value & 0xFF)) * 1099511628211u;
        value >>= 8;
    }
}

#define OPERATORS(U, S, bits)                                                                      \
    static void width_##bits(uint64_t wide_a, uint64_t wide_b)                                     \
    {                                                                                              \
        volatile U a = wide_a, b = wide_b;                                                         \
        volatile S sa = (S)a, sb = (S)b;                                                           \
        unsigned shift = b % bits;                                                                 \
        mix((U)(a + b));                                                                           \
        mix((U)(a - b));                                                                           \
        mix((U)((uint64_t)a * b));                                                                 \
        mix((U)(a & b));                                                                           \
        mix((U)(a | b));                                                                           \
        mix((U)(a ^ b));                                                                           \
        mix((U)~a);                                                                                \
        mix((U)(0 - (uint64_t)a));                                                                 \
        mix((U)((uint64_t)a << shift));                                                            \
        mix((U)(a >> shift));                                                                      \
        mix((uint64_t)(S)(sa >> shift));                                                           \
        mix((U)(((uint64_t)a << shift) | ((uint64_t)a >> ((bits - shift) % bits))));               \
        if (b) {                                                                                   \
            mix(a / b);                                                                            \
            mix(a % b);                                                                            \
            if (sb != -1) {                                                                        \
                mix((uint64_t)(S)(sa / sb));                                                       \
                mix((uint64_t)(S)(sa % sb));                                                       \
            }                                                                                      \
        }                                                                                          \
        mix((a < b) | (a <= b) << 1 | (sa < sb) << 2 | (sa <= sb) << 3 | (a == b) << 4);           \
        mix((uint64_t)sa);                                                                         \
        mix((uint64_t)(int64_t)(int8_t)sa);                                                        \
        mix((uint64_t)(int64_t)(int16_t)sa);                                                       \
    }
OPERATORS(uint8_t, int8_t, 8)
OPERATORS(uint16_t, int16_t, 16)
OPERATORS(uint32_t, int32_t, 32)
OPERATORS(uint64_t, int64_t, 64)

static uint64_t state = 88172645463325252u;

static uint64_t next(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

int main(void)
{
    static void (*const widths[])(uint64_t, uint64_t) = { width_8, width_16, width_32, width_64 };
    for (int width = 0; width < 4; width++) {
        digest = 14695981039346656037u;
        for (unsigned a = 0; a < EDGES; a++)
            for (unsigned b = 0; b < EDGES; b++)
                widths[width](edges[a], edges[b]);
        printf("edges, %d bits: %016" PRIx64 "\n", 8 << width, digest);
        for (int n = 0; n < 3000; n++) {
            uint64_t a = next() >> (next() & 63), b = next() >> (next() & 63);
            widths[width](a, b);
            if (n % 500 == 499)
                printf("random, %d bits: %016" PRIx64 "\n", 8 << width, digest);
        }
    }
    volatile int64_t big = INT64_C(-9007199254740993);
    printf("%" PRId64 " %" PRId64 " %" PRIu64 "\n", big / 10, big % 10, (uint64_t)big / 10);
    for (unsigned n = 0; n < EDGES; n++) {
        uint32_t low = (uint32_t)edges[n];
        printf("%08x clz %d ctz %d popcount %d parity %d bswap %08x\n", low,
               low ? __builtin_clz(low) : 32, low ? __builtin_ctz(low) : 32,
               __builtin_popcount(low), __builtin_parity(low), __builtin_bswap32(low));
    }
    for (unsigned a = 0; a < EDGES; a++)
        for (unsigned b = 0; b < EDGES; b += 3) {
            int32_t s;
            int64_t d;
            int o = __builtin_add_overflow((int32_t)edges[a], (int32_t)edges[b], &s);
            o |= __builtin_mul_overflow((int32_t)edges[a], (int32_t)edges[b], &s) << 1;
            o |= __builtin_sub_overflow((int64_t)edges[a], (int64_t)edges[b], &d) << 2;
            o |= __builtin_mul_overflow((int64_t)edges[a], (int64_t)edges[b], &d) << 3;
            mix(o);
            mix((uint64_t)s);
            mix((uint64_t)d);
        }
    printf("overflows: %016" PRIx64 "\n", digest);
    return 0;
}
