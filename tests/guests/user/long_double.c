/* long double: two doubles on this machine. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

int main(void)
{
    static const char *const texts[] = {
        "0", "1", "-1", "0.1", "3.14159265358979323846264338327950288", "1e300", "1e-300",
        "-123456789.987654321987654321", "1.000000000000000000000000000001", "6.62607015e-34",
        "9007199254740993.0000001", "inf", "-inf",
    };
    enum { N = sizeof texts / sizeof texts[0] };
    volatile long double values[N];
    for (int n = 0; n < N; n++) {
        values[n] = strtold(texts[n], NULL);
        printf("%s: %La %.33Lg %.5Lf\n", texts[n], values[n], values[n],
               fabsl(values[n]) < 1e20L ? values[n] : 0);
    }
    for (int a = 0; a < N; a++)
        for (int b = 0; b < N; b++) {
            long double x = values[a], y = values[b];
            printf("%d %d: %.30Lg %.30Lg %.30Lg", a, b, x + y, x - y, x * y);
            if (y != 0)
                printf(" %.30Lg", x / y);
            printf(" %d%d%d\n", x < y, x == y, x > y);
        }
    long double sum = 0;
    for (int n = 1; n < 500; n++)
        sum += 1.0L / n;
    printf("harmonic %.33Lg\n", sum);
    long double root = 1;
    for (int n = 0; n < 12; n++)
        root = (root + 2 / root) / 2;
    printf("root of 2 %.33Lg, library's %.33Lg\n", root, sqrtl(2));
    volatile long long whole = 9223372036854775807;
    printf("%.30Lg %lld %llu\n", (long double)whole, (long long)(values[7] * 1000),
           (unsigned long long)(values[4] * 1e15L));
    printf("%.17g %.9g\n", (double)values[4], (double)(float)values[3]);
    return 0;
}
