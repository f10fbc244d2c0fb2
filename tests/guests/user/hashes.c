/* Checksums, a cipher-like mix, sorting: loops of shifts, rotates and table look-ups. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint8_t data[60000];

static uint32_t crc32(const uint8_t *p, size_t n)
{
    static uint32_t table[256];
    if (!table[1])
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t c = i;
            for (int k = 0; k < 8; k++)
                c = c & 1 ? c >> 1 ^ 0xEDB88320 : c >> 1;
            table[i] = c;
        }
    uint32_t crc = ~0u;
    while (n--)
        crc = crc >> 8 ^ table[(crc ^ *p++) & 0xFF];
    return ~crc;
}

static uint32_t rotate(uint32_t x, int n)
{
    return x >> n | x << (32 - n);
}

/* SHA-256; its constants are computed: the first bits of the cube roots of primes. */
static uint32_t constants[64];

static void find_constants(void)
{
    int found = 0;
    for (uint32_t p = 2; found < 64; p++) {
        int prime = 1;
        for (uint32_t d = 2; d * d <= p; d++)
            prime &= p % d != 0;
        if (!prime)
            continue;
        /* The cube root of p in 36 bits, four of them before the point: the largest whose cube
           does not exceed p * 2^96, found bit by bit. */
        uint64_t root = 0;
        for (int bit = 35; bit >= 0; bit--) {
            uint64_t r = root | 1ull << bit;
            /* r^3 in 128 bits, as three limbs of r^2 times r. */
            uint64_t lo = r & 0xFFFFFFFF, hi = r >> 32;
            uint64_t ll = lo * lo, lh = lo * hi, hh = hi * hi;
            uint64_t s0 = ll & 0xFFFFFFFF, s1 = (ll >> 32) + 2 * (lh & 0xFFFFFFFF),
                     s2 = 2 * (lh >> 32) + hh;
            s2 += s1 >> 32, s1 &= 0xFFFFFFFF;
            uint64_t c0 = s0 * lo, c1 = s1 * lo, c1b = s0 * hi, c2 = s2 * lo, c2b = s1 * hi,
                     c3 = s2 * hi;
            uint64_t t1 = (c0 >> 32) + (c1 & 0xFFFFFFFF) + (c1b & 0xFFFFFFFF);
            uint64_t t2 = (t1 >> 32) + (c1 >> 32) + (c1b >> 32) + (c2 & 0xFFFFFFFF) + (c2b & 0xFFFFFFFF);
            uint64_t t3 = (t2 >> 32) + (c2 >> 32) + (c2b >> 32) + c3;
            if (t3 < p)
                root = r;
        }
        constants[found++] = (uint32_t)root;
    }
}

static void sha256(const uint8_t *p, size_t n, uint32_t h[8])
{
    static const uint32_t first[8] = { 0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F,
                                       0x9B05688C, 0x1F83D9AB, 0x5BE0CD19 };
    memcpy(h, first, sizeof first);
    size_t blocks = (n + 9 + 63) / 64;
    for (size_t block = 0; block < blocks; block++) {
        uint8_t b[64];
        for (int i = 0; i < 64; i++) {
            size_t at = block * 64 + i;
            b[i] = at < n ? p[at] : at == n ? 0x80 : 0;
        }
        if (block == blocks - 1)
            for (int i = 0; i < 8; i++)
                b[63 - i] = (uint8_t)((uint64_t)n * 8 >> 8 * i);
        uint32_t w[64], v[8];
        for (int i = 0; i < 16; i++)
            w[i] = (uint32_t)b[4 * i] << 24 | b[4 * i + 1] << 16 | b[4 * i + 2] << 8 | b[4 * i + 3];
        for (int i = 16; i < 64; i++) {
            uint32_t x = w[i - 15], y = w[i - 2];
            w[i] = w[i - 16] + (rotate(x, 7) ^ rotate(x, 18) ^ x >> 3) + w[i - 7] +
                   (rotate(y, 17) ^ rotate(y, 19) ^ y >> 10);
        }
        memcpy(v, h, sizeof v);
        for (int i = 0; i < 64; i++) {
            uint32_t e = v[4], a = v[0];
            uint32_t t1 = v[7] + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) +
                          ((e & v[5]) ^ (~e & v[6])) + constants[i] + w[i];
            uint32_t t2 = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) +
                          ((a & v[1]) ^ (a & v[2]) ^ (v[1] & v[2]));
            memmove(v + 1, v, 7 * sizeof *v);
            v[4] += t1;
            v[0] = t1 + t2;
        }
        for (int i = 0; i < 8; i++)
            h[i] += v[i];
    }
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static int by_low_half(const void *a, const void *b)
{
    return (int)(*(const uint32_t *)a & 0xFFFF) - (int)(*(const uint32_t *)b & 0xFFFF);
}

int main(void)
{
    uint32_t state = 1, h[8];
    for (size_t n = 0; n < sizeof data; n++) {
        state = state * 1103515245 + 12345;
        data[n] = (uint8_t)(state >> 16);
    }
    find_constants();
    printf("constants %08x %08x\n", constants[0], constants[63]);
    static const size_t sizes[] = { 0, 1, 3, 55, 56, 63, 64, 65, 1000, 60000 };
    for (unsigned n = 0; n < sizeof sizes / sizeof *sizes; n++) {
        sha256(data, sizes[n], h);
        printf("%u: crc32 %08x sha256 ", (unsigned)sizes[n], crc32(data, sizes[n]));
        for (int i = 0; i < 8; i++)
            printf("%08x", h[i]);
        printf("\n");
    }
    sha256((const uint8_t *)"abc", 3, h);
    printf("abc %s\n", h[0] == 0xBA7816BF && h[7] == 0xF20015AD ? "right" : "WRONG");
    static uint32_t list[5000];
    for (int n = 0; n < 5000; n++)
        list[n] = state = state * 1664525 + 1013904223;
    qsort(list, 5000, sizeof *list, by_value);
    printf("sorted %08x %08x %08x\n", list[0], list[2500], list[4999]);
    qsort(list, 5000, sizeof *list, by_low_half);
    uint32_t halves = 0;
    for (int n = 0; n < 5000; n++)
        halves = halves * 31 + (list[n] & 0xFFFF);
    printf("by half %08x\n", halves);
    uint32_t key = 0x2545F491;
    uint32_t *found = bsearch(&list[1234], list, 5000, sizeof *list, by_low_half);
    printf("found %d\n", found && (*found & 0xFFFF) == (list[1234] & 0xFFFF));
    /* A sieve, and a mix that depends on each bit. */
    static uint8_t sieve[100000];
    int primes = 0;
    for (int n = 2; n < 100000; n++)
        if (!sieve[n]) {
            primes++;
            for (int m = 2 * n; m < 100000; m += n)
                sieve[m] = 1;
        }
    for (int n = 0; n < 200000; n++)
        key = (rotate(key, 7) + 0x9E3779B9) ^ (key >> (key & 15)) ^ data[key % sizeof data];
    printf("primes %d key %08x\n", primes, key);
    return 0;
}
