/*
 * Floating point in each rounding mode, and the exceptions that it raises. A row of results is
 * printed as a hash of its text; compiled with ROUNDING_ROWS defined, as text before it.
 */
#include <fenv.h>
#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

static const double values[] = {
    0.0, -0.0, 1.0, -1.0, 0.1, -0.3, 1.5, 2.5, -2.5, 1e16, 1e-16, 1e308, -1e308, 1e-308,
    4.9e-324, 1.0 / 3, 123456.789, 2147483647.5, -2147483648.5, 4294967296.0, INFINITY, -INFINITY,
};
#define N (sizeof values / sizeof *values)

static uint32_t row = 2166136261u;

static void say(const char *format, ...)
{
    char text[64];
    va_list values;
    va_start(values, format);
    vsnprintf(text, sizeof text, format, values);
    va_end(values);
    for (const char *c = text; *c; c++)
        row = (row ^ (unsigned char)*c) * 16777619u;
#ifdef ROUNDING_ROWS
    fputs(text, stdout);
#endif
}

static void end_row(void)
{
    printf("%08x\n", row);
}

static void flags(void)
{
    int raised = fetestexcept(FE_ALL_EXCEPT);
    say(" %c%c%c%c%c", raised & FE_INVALID ? 'V' : '-', raised & FE_DIVBYZERO ? 'Z' : '-',
           raised & FE_OVERFLOW ? 'O' : '-', raised & FE_UNDERFLOW ? 'U' : '-',
           raised & FE_INEXACT ? 'X' : '-');
    feclearexcept(FE_ALL_EXCEPT);
}

static void show(volatile double value)
{
    if (isnan(value))
        say(" nan");
    else
        say(" %a", value);
    flags();
}

int main(void)
{
    static const int modes[] = { FE_TONEAREST, FE_TOWARDZERO, FE_UPWARD, FE_DOWNWARD };
    static const char *const names[] = { "nearest", "zero", "up", "down" };
    for (int mode = 0; mode < 4; mode++) {
        printf("%s %d\n", names[mode], fesetround(modes[mode]));
        printf("is %d\n", fegetround() == modes[mode]);
        for (unsigned a = 0; a < N; a++) {
            for (unsigned b = 0; b < N; b++) {
                volatile double x = values[a], y = values[b], r;
                volatile float fx = (float)x, fy = (float)y, f;
                feclearexcept(FE_ALL_EXCEPT);
                say("%u %u:", a, b);
                r = x + y;
                show(r);
                r = x - y;
                show(r);
                r = x * y;
                show(r);
                r = x / y;
                show(r);
                r = fma(x, y, x);
                show(r);
                f = fx + fy;
                show(f);
                f = fx * fy;
                show(f);
                f = fx / fy;
                show(f);
            }
            volatile double x = values[a], r;
            volatile float f;
            feclearexcept(FE_ALL_EXCEPT);
            r = sqrt(x);
            show(r);
            r = rint(x);
            show(r);
            r = nearbyint(x);
            show(r);
            f = (float)x;
            show(f);
            if (fabs(x) < 2e9)
                say(" %d %ld %lld", (int)x, lrint(x), llrint(x));
            flags();
            end_row();
        }
    }
    fesetround(FE_TONEAREST);
    feclearexcept(FE_ALL_EXCEPT);
    feraiseexcept(FE_OVERFLOW | FE_INVALID);
    flags();
    fenv_t saved;
    fegetenv(&saved);
    fesetround(FE_UPWARD);
    feraiseexcept(FE_INEXACT);
    fesetenv(&saved);
    say(" %d", fegetround() == FE_TONEAREST);
    flags();
    end_row();
    return 0;
}
