/* fake_system.c: preloaded, makes a process believe in 8 CPUs, and in the control groups that lie
 * below the folder $FAKE_SYSTEM: its proc/self/cgroup and sys/fs/cgroup stand for the real ones. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

FILE *fopen(const char *path, const char *mode)
{
    FILE *(*real)(const char *, const char *);
    *(void **)&real = dlsym(RTLD_NEXT, "fopen");
    char other[8192];
    if (strncmp(path, "/proc/self/cgroup", 17) && strncmp(path, "/sys/fs/cgroup", 14))
        return real(path, mode);
    snprintf(other, sizeof other, "%s%s", getenv("FAKE_SYSTEM"), path);
    return real(other, mode);
}

int sched_getaffinity(pid_t process, size_t bytes, cpu_set_t *mask)
{
    (void)process;
    CPU_ZERO_S(bytes, mask);
    for (int cpu = 0; cpu < 8; cpu++)
        CPU_SET_S(cpu, bytes, mask);
    return 0;
}
