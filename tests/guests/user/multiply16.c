/* Products of halfwords that are added up: what the compiler's multiply-accumulate patterns match. */
#include <stdint.h>
#include <stdio.h>

#define N 512
static int16_t a[N], b[N];
static uint16_t ua[N], ub[N];
static int32_t wide[N];

static uint32_t state = 2463534242u;

static uint32_t next(void)
{
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state;
}

static __attribute__((noinline)) int32_t dot(const int16_t *x, const int16_t *y, int n, int32_t sum)
{
    for (int i = 0; i < n; i++)
        sum = (int32_t)((uint32_t)sum + (uint32_t)(x[i] * y[i]));
    return sum;
}

static __attribute__((noinline)) int32_t minus(const int16_t *x, const int16_t *y, int n, int32_t sum)
{
    for (int i = 0; i < n; i++)
        sum = (int32_t)((uint32_t)sum - (uint32_t)(x[i] * y[i]));
    return sum;
}

static __attribute__((noinline)) uint32_t udot(const uint16_t *x, const uint16_t *y, int n)
{
    uint32_t sum = 0;
    for (int i = 0; i < n; i++)
        sum += (uint32_t)x[i] * y[i];
    return sum;
}

static __attribute__((noinline)) int32_t halves(int32_t x, int32_t y, int32_t sum)
{
    uint32_t s = (uint32_t)sum;
    s += (uint32_t)((x >> 16) * (y >> 16));
    s += (uint32_t)((int16_t)x * (y >> 16));
    s += (uint32_t)((x >> 16) * (int16_t)y);
    s -= (uint32_t)((int16_t)x * (int16_t)y);
    s += ((uint32_t)x >> 16) * ((uint32_t)y >> 16);
    s += ((uint32_t)x & 0xFFFF) * ((uint32_t)y >> 16);
    return (int32_t)s;
}

/* One function for each accumulation that is one instruction: high, low and crossed halves. */
#define ACC(name, type, product)                                                                   \
    static __attribute__((noinline)) type name(type sum, type x, type y) { return product; }
ACC(machhw, int, sum + (x >> 16) * (y >> 16))
ACC(nmachhw, int, sum - (x >> 16) * (y >> 16))
ACC(maclhw, int, sum + (int16_t)x * (int16_t)y)
ACC(nmaclhw, int, sum - (int16_t)x * (int16_t)y)
ACC(macchw, int, sum + (int16_t)x * (y >> 16))
ACC(nmacchw, int, sum - (int16_t)x * (y >> 16))
ACC(machhwu, unsigned, sum + (x >> 16) * (y >> 16))
ACC(maclhwu, unsigned, sum + (uint16_t)x * (unsigned)(uint16_t)y)
ACC(macchwu, unsigned, sum + (uint16_t)x * (y >> 16))
ACC(mulhhw, int, sum ? (x >> 16) * (y >> 16) : 0)
ACC(mullhw, int, sum ? (int16_t)x * (int16_t)y : 0)
ACC(mulchw, int, sum ? (int16_t)x * (y >> 16) : 0)
ACC(mulhhwu, unsigned, sum ? (x >> 16) * (y >> 16) : 0)
ACC(mullhwu, unsigned, sum ? (uint16_t)x * (unsigned)(uint16_t)y : 0)
ACC(mulchwu, unsigned, sum ? (uint16_t)x * (y >> 16) : 0)

/* The forms that also compare with 0. */
#define SIGN(name, product)                                                                        \
    static __attribute__((noinline)) int name(int sum, int x, int y)                               \
    {                                                                                              \
        (void)sum;                                                                                 \
        int r = product;                                                                           \
        return r < 0 ? r ^ x : r == 0 ? 5 : r;                                                     \
    }
SIGN(machhw_sign, sum + (x >> 16) * (y >> 16))
SIGN(nmaclhw_sign, sum - (int16_t)x * (int16_t)y)
SIGN(mulchw_sign, (int16_t)x * (y >> 16))

static void one_by_one(void)
{
    static const uint32_t edges[] = { 0, 1, 0x7FFF7FFF, 0x80008000, 0xFFFFFFFF, 0x7FFF8000,
                                      0x80007FFF, 0x00010001, 0x80000000, 0x7FFFFFFF };
    uint32_t sum[18] = { 0 };
    for (int round = 0; round < 3000; round++) {
        uint32_t s = next(), x = next(), y = next();
        if (round < 1000) {
            s = edges[round % 10];
            x = edges[round / 10 % 10];
            y = edges[round / 100 % 10];
        }
        int n = 0;
#define ONE(name) sum[n] = sum[n] * 31 + (uint32_t)name(s, x, y), n++;
        ONE(machhw) ONE(nmachhw) ONE(maclhw) ONE(nmaclhw) ONE(macchw) ONE(nmacchw)
        ONE(machhwu) ONE(maclhwu) ONE(macchwu) ONE(mulhhw) ONE(mullhw) ONE(mulchw)
        ONE(mulhhwu) ONE(mullhwu) ONE(mulchwu) ONE(machhw_sign) ONE(nmaclhw_sign) ONE(mulchw_sign)
    }
    for (int n = 0; n < 18; n++)
        printf("form %d: %08x\n", n, (unsigned)sum[n]);
}

static void fir(void)
{
    static const int16_t taps[] = { 3, -9, 27, -81, 243, -729, 2187, -6561, 19683 };
    for (int i = 0; i < N - 9; i++)
        wide[i] = dot(a + i, taps, 9, 1 << 14) >> 15;
    int32_t sum = 0;
    for (int i = 0; i < N - 9; i++)
        sum = (int32_t)((uint32_t)sum * 31 + (uint32_t)wide[i]);
    printf("fir %08x\n", (unsigned)sum);
}

int main(void)
{
    for (int round = 0; round < 8; round++) {
        for (int i = 0; i < N; i++) {
            a[i] = (int16_t)next();
            b[i] = (int16_t)next();
            ua[i] = (uint16_t)next();
            ub[i] = (uint16_t)next();
        }
        a[0] = b[0] = INT16_MIN;
        ua[0] = ub[0] = 0xFFFF;
        printf("dot %08x minus %08x udot %08x\n", (unsigned)dot(a, b, N, (int32_t)next()),
               (unsigned)minus(a, b, N, (int32_t)next()), (unsigned)udot(ua, ub, N));
        int32_t sum = 0;
        for (int i = 0; i < N; i++)
            sum = halves((int32_t)next(), (int32_t)next(), sum);
        printf("halves %08x\n", (unsigned)sum);
        fir();
    }
    one_by_one();
    /* A small matrix product. */
    int32_t trace = 0;
    for (int i = 0; i < 16; i++)
        for (int j = 0; j < 16; j++) {
            int32_t sum = 0;
            for (int k = 0; k < 16; k++)
                sum += a[16 * i + k] * b[16 * k + j] >> 4;
            trace = (int32_t)((uint32_t)trace * 33 + (uint32_t)sum);
        }
    printf("matrix %08x\n", (unsigned)trace);
    return 0;
}
