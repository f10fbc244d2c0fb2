/* Threads: locks, conditions, thread-local data, atomic operations of each width. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>

#define THREADS 6
#define ROUNDS 2000

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static uint64_t sum;
static int turn;
static atomic_uint counter;
static atomic_ushort small_counter;
static atomic_uchar tiny_counter;
static _Thread_local uint32_t mine = 7;

static void *count(void *argument)
{
    uintptr_t n = (uintptr_t)argument;
    for (int i = 0; i < ROUNDS; i++) {
        pthread_mutex_lock(&lock);
        sum += n * i;
        pthread_mutex_unlock(&lock);
        atomic_fetch_add(&counter, 1);
        atomic_fetch_add(&small_counter, 3);
        atomic_fetch_xor(&tiny_counter, (unsigned char)(n + i));
        mine = mine * 1664525 + (uint32_t)n;
    }
    return (void *)(uintptr_t)mine;
}

static void *take_turns(void *argument)
{
    int n = (int)(uintptr_t)argument;
    for (int i = 0; i < 10; i++) {
        pthread_mutex_lock(&lock);
        while (turn != n)
            pthread_cond_wait(&changed, &lock);
        printf("%d%c", n, n == THREADS - 1 ? '\n' : ' ');
        turn = (turn + 1) % THREADS;
        pthread_cond_broadcast(&changed);
        pthread_mutex_unlock(&lock);
    }
    return NULL;
}

static void *floats(void *argument)
{
    double x = (uintptr_t)argument + 0.5, total = 0;
    for (int i = 1; i < 20000; i++)
        total += x / i;
    static double results[THREADS];
    double *result = &results[(uintptr_t)argument];
    *result = total;
    return result;
}

int main(void)
{
    pthread_t threads[THREADS];
    for (uintptr_t n = 0; n < THREADS; n++)
        pthread_create(&threads[n], NULL, count, (void *)n);
    for (int n = 0; n < THREADS; n++) {
        void *result;
        pthread_join(threads[n], &result);
        printf("thread %d: %08x\n", n, (unsigned)(uintptr_t)result);
    }
    printf("sum %llu counter %u small %u tiny %u mine %u\n", (unsigned long long)sum, counter,
           small_counter, tiny_counter, mine);
    for (uintptr_t n = 0; n < THREADS; n++)
        pthread_create(&threads[n], NULL, take_turns, (void *)n);
    for (int n = 0; n < THREADS; n++)
        pthread_join(threads[n], NULL);
    for (uintptr_t n = 0; n < THREADS; n++)
        pthread_create(&threads[n], NULL, floats, (void *)n);
    for (int n = 0; n < THREADS; n++) {
        void *result;
        pthread_join(threads[n], &result);
        printf("float thread %d: %a\n", n, *(double *)result);
    }
    return 0;
}
