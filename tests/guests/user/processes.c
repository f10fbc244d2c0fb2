/* fork, pipes, exit statuses, copies of memory on write. */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static uint32_t memory[16384];

static uint32_t digest(void)
{
    uint32_t hash = 1;
    for (int n = 0; n < 16384; n++)
        hash = hash * 16777619u ^ memory[n];
    return hash;
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int n = 0; n < 16384; n++)
        memory[n] = n * 2654435761u;
    uint32_t before = digest();
    for (int child = 0; child < 12; child++) {
        int out[2];
        if (pipe(out))
            return 1;
        fflush(stdout);
        pid_t pid = fork();
        if (pid == 0) {
            for (int n = child; n < 16384; n += 100)
                memory[n] = ~memory[n];
            uint32_t mine = digest();
            ssize_t wrote = write(out[1], &mine, sizeof mine);
            if (child == 10)
                abort();
            if (child == 11)
                raise(SIGKILL);
            _exit(wrote == sizeof mine ? child * 3 : 255);
        }
        close(out[1]);
        uint32_t theirs = 0;
        ssize_t got = read(out[0], &theirs, sizeof theirs);
        close(out[0]);
        int status;
        waitpid(pid, &status, 0);
        printf("child %d: %d bytes %08x exit %d signal %d\n", child, (int)got, theirs,
               WIFEXITED(status) ? WEXITSTATUS(status) : -1, WIFSIGNALED(status) ? WTERMSIG(status) : 0);
    }
    printf("ours is unchanged: %d\n", digest() == before);

    /* A ring of processes that add to a number. */
    int first[2], last[2];
    if (pipe(first))
        return 1;
    int from = first[0];
    for (int n = 0; n < 8; n++) {
        if (pipe(last))
            return 1;
        fflush(stdout);
        if (fork() == 0) {
            uint64_t value;
            /* Else the ring would never see its end. */
            close(first[1]);
            close(last[0]);
            while (read(from, &value, sizeof value) == sizeof value) {
                value = value * 3 + n;
                if (write(last[1], &value, sizeof value) != sizeof value)
                    _exit(1);
            }
            _exit(0);
        }
        close(from);
        close(last[1]);
        from = last[0];
    }
    for (uint64_t value = 1; value < 6; value++) {
        uint64_t answer = 0;
        if (write(first[1], &value, sizeof value) != sizeof value)
            return 1;
        if (read(from, &answer, sizeof answer) != sizeof answer)
            return 1;
        printf("ring %llu\n", (unsigned long long)answer);
    }
    close(first[1]);
    int ended = 0, status;
    while (ended < 8 && wait(&status) > 0)
        ended += WIFEXITED(status);
    printf("ended %d\n", ended);

    volatile uint32_t *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (int n = 0; n < 4; n++) {
        fflush(stdout);
        if (fork() == 0) {
            for (int i = 0; i < 2000; i++)
                __atomic_add_fetch(shared, n + 1, __ATOMIC_SEQ_CST);
            _exit(0);
        }
    }
    while (wait(NULL) > 0)
        ;
    printf("shared counter %u\n", *shared);
    return 0;
}
