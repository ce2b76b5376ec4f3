/* A disk whose every flush takes longer, by FLUSH_DELAY_US: for LD_PRELOAD (see slow_disk.py).
 *
 * Postgres flushes its log with fdatasync at each commit, and data files with fsync at checkpoints.
 * The wait burns no CPU, as that for a disk does not. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <time.h>

static struct timespec delay;

__attribute__((constructor)) static void read_delay(void)
{
    const char *us = getenv("FLUSH_DELAY_US");
    long long ns = us ? atoll(us) * 1000 : 0;
    delay.tv_sec = ns / 1000000000;
    delay.tv_nsec = ns % 1000000000;
}

static int slowly(const char *name, int file)
{
    struct timespec left = delay;
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    while (nanosleep(&left, &left) && errno == EINTR)
        ; /* a signal woke us; the disk would go on */
    return real(file);
}

int fdatasync(int file) { return slowly("fdatasync", file); }

int fsync(int file) { return slowly("fsync", file); }
