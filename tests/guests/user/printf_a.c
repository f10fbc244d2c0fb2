/* Doubles and floats to text and back. */
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static double from_bits(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint64_t state = 0x9E3779B97F4A7C15;

static uint64_t next(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static void show(double value)
{
    char text[64];
    snprintf(text, sizeof text, "%.17g", value);
    double back = strtod(text, NULL);
    printf("%a %A %.3a %g %.17g %e %s\n", value, value, value, value, value, value,
           isnan(value) || memcmp(&back, &value, sizeof value) == 0 ? "same" : "LOST");
    float single = (float)value;
    printf("  %a %.9g %d %d\n", single, single, (int)fpclassify(value), signbit(value) != 0);
}

int main(void)
{
    static const double values[] = {
        0.0, -0.0, 1.0, -1.0, 0.1, 1.0 / 3, DBL_MAX, DBL_MIN, DBL_EPSILON, 4.9406564584124654e-324,
        2.2250738585072011e-308, FLT_MAX, FLT_MIN, 1.401298464324817e-45, 1e22, 1e23, 123456789012345678,
        0.5, 1.5, 2.5, 3.5, 1e15 + 0.5, 9007199254740993.0, INFINITY, -INFINITY,
    };
    for (unsigned n = 0; n < sizeof values / sizeof *values; n++)
        show(values[n]);
    for (int n = 0; n < 200; n++) {
        double value = from_bits(next());
        if (!isnan(value))
            show(value);
    }
    for (int digits = 0; digits < 20; digits++)
        printf("%.*f %.*e %.*g\n", digits, 2.0 / 3, digits, 12345.678901234567, digits, 9.9999999999);
    printf("%a %a\n", strtod("0x1.8p-1074", NULL), strtod("0x1.fffffffffffff8p+1023", NULL));
    printf("%g %g %g\n", sqrt(2), pow(2, 0.5), exp(1));
    printf("%a %a %a %a\n", sin(1), cos(1e6), atan2(-1, -2), log(10));
    printf("%a %a %a\n", fma(1.0 + DBL_EPSILON, 1.0 + DBL_EPSILON, -1), fmod(1e20, 3), remainder(7, 4));
    return 0;
}
