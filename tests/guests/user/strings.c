/* Strings and memory at every alignment, conversions, sorting. */
#include <ctype.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint32_t digest(const void *data, size_t bytes)
{
    uint32_t hash = 2166136261u;
    for (const unsigned char *p = data; bytes--; p++)
        hash = (hash ^ *p) * 16777619u;
    return hash;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int main(void)
{
    static char from[256], to[256];
    volatile size_t part = 6;
    uint32_t all = 0;
    for (int n = 0; n < 256; n++)
        from[n] = (char)(n * 7 + 1);
    for (int source = 0; source < 9; source++)
        for (int target = 0; target < 9; target++)
            for (int bytes = 0; bytes < 80; bytes += 1 + bytes / 9) {
                memset(to, 0x5A, sizeof to);
                memcpy(to + target, from + source, bytes);
                all = all * 31 + digest(to, sizeof to);
                memmove(to + target + 3, to + target, bytes);
                memmove(to + target, to + target + 5, bytes);
                all = all * 31 + digest(to, sizeof to);
                memset(to + target, source, bytes);
                all = all * 31 + digest(to, sizeof to);
                all = all * 31 + (memcmp(to + target, from + source, bytes) > 0);
            }
    printf("memory %08x\n", all);
    for (int start = 0; start < 9; start++)
        for (int length = 0; length < 40; length++) {
            memset(to, 0, sizeof to);
            memset(to + start, 'a' + length % 26, length);
            to[start + length / 2] = length ? 'Z' : 0;
            const char *z = strchr(to + start, 'Z'), *r = strrchr(to + start, 'Z');
            all = all * 31 + strlen(to + start) + (z ? z - to : 99) + (r ? r - to : 98);
            all = all * 31 + strnlen(to + start, 17) + strspn(to + start, "abcdefghij");
            all = all * 31 + strcspn(to + start, "XYZ") + (memchr(to, 'Z', sizeof to) != NULL);
            char copy[64];
            strcpy(copy, to + start);
            strncat(copy, "tail of it", part);
            all = all * 31 + digest(copy, strlen(copy)) + (strcmp(copy, to + start) < 0);
            all = all * 31 + (strncmp(copy, to + start, length) == 0);
        }
    printf("strings %08x\n", all);
    char words[] = "the quick brown fox jumps over the lazy dog and runs away from it all";
    char *list[20], *rest = words;
    int count = 0;
    for (char *word; (word = strtok_r(rest, " ", &rest)) != NULL;)
        list[count++] = word;
    qsort(list, count, sizeof *list, by_text);
    for (int n = 0; n < count; n++)
        printf("%s%c", list[n], n + 1 < count ? ' ' : '\n');
    printf("%s\n", strstr("hello, hidden needle here", "needle"));
    static const char *const numbers[] = {
        "0", "-1", "2147483647", "-2147483648", "99999999999", "0x7fff", "077", "  42rest", "none",
        "9223372036854775808", "-9223372036854775809",
    };
    for (unsigned n = 0; n < sizeof numbers / sizeof *numbers; n++) {
        char *stop;
        errno = 0;
        long l = strtol(numbers[n], &stop, 0);
        int error = errno;
        errno = 0;
        long long ll = strtoll(numbers[n], NULL, 10);
        printf("%s: %ld (%d, left '%s') %lld (%d)\n", numbers[n], l, error, stop, ll, errno);
    }
    for (int n = 0; n < 128; n += 5)
        printf("%d%d%d%d%c", !!isalpha(n), !!isdigit(n), !!isspace(n), !!ispunct(n), toupper('a' + n % 26));
    printf("\n%5d|%-8x|%+.3d|%#o|%08.3f|%.3s|%c|%%|%p\n", 42, 48879, 7, 8, 3.14159, "abcdef", 'x', NULL);
    return 0;
}
