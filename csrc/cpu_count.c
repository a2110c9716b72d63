/* cpu_count.c: the environment's word, the affinity mask, and the control group's CPU quota.
 *
 * The quota matters in containers: with 2 CPUs' worth of time on a machine of 64, a pool of 64 uses
 * up its period's share in 3 ms and then stands still for 97. */
#define _GNU_SOURCE /* sched_getaffinity, CPU_COUNT_S */
#include "cpu_count.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if defined(__linux__)
#include <sched.h>
#endif

enum { PATH_BYTES = 4096 };

/* A count from the environment, or 0 for none and for what is not one ("auto", "-1", "3x"). */
static int count_from(const char *variable)
{
    const char *text = getenv(variable);
    if (!text)
        return 0;
    char *end;
    errno = 0;
    const long count = strtol(text, &end, 10);
    end += strspn(end, " \t");
    const bool whole = end != text && (*end == '\0' || *end == ',');
    return whole && errno == 0 && count >= 1 && count <= INT_MAX ? (int)count : 0;
}

#if defined(__linux__)

/* The kernel refuses a mask shorter than its own and does not tell its length: try longer ones. */
static int affinity_cpus(void)
{
    for (int cpus = 1024; cpus <= 1 << 20; cpus *= 4) {
        cpu_set_t *mask = CPU_ALLOC(cpus);
        if (!mask)
            break;
        const size_t bytes = CPU_ALLOC_SIZE(cpus);
        const bool known = sched_getaffinity(0, bytes, mask) == 0;
        const int count = known ? CPU_COUNT_S(bytes, mask) : 0;
        const bool too_short = !known && errno == EINVAL;
        CPU_FREE(mask);
        if (known)
            return count;
        if (!too_short)
            break;
    }
    return 0;
}

/* Up to two numbers of a file below folder; "max" and -1, both for no limit, count as no number. */
static int read_numbers(const char *folder, const char *name, double numbers[2])
{
    char path[PATH_BYTES + 64];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "re");
    if (!file)
        return 0;
    const int count = fscanf(file, "%lf %lf", &numbers[0], &numbers[1]);
    fclose(file);
    return count > 0 && numbers[0] > 0 ? count : 0;
}

/* The CPUs that a control group's own files allow, or 0 for no limit. */
static double folder_quota(const char *folder)
{
    double numbers[2], period[2];
    if (read_numbers(folder, "cpu.max", numbers) == 2 && numbers[1] > 0)
        return numbers[0] / numbers[1];
    if (read_numbers(folder, "cpu.cfs_quota_us", numbers) &&
        read_numbers(folder, "cpu.cfs_period_us", period))
        return numbers[0] / period[0];
    return 0;
}

/* The least quota from the group at root + path up to root, since each group limits those below it.
 * In a container the path may be the host's and not exist here; root alone is then the group's. */
static double path_quota(const char *root, const char *path)
{
    char folder[PATH_BYTES];
    const size_t root_length = strlen(root);
    if (root_length + strlen(path) >= sizeof folder)
        return 0;
    strcat(strcpy(folder, root), path);
    double least = 0;
    for (;;) {
        const double quota = folder_quota(folder);
        if (quota > 0 && (least == 0 || quota < least))
            least = quota;
        char *slash = strrchr(folder, '/');
        if ((size_t)(slash - folder) < root_length)
            return least;
        *slash = '\0';
    }
}

/* Whether the comma-separated list names the controller "cpu". */
static bool lists_cpu(const char *list, const char *end)
{
    for (const char *word = list; word < end;) {
        const size_t length = strcspn(word, ",:");
        if (length == 3 && !strncmp(word, "cpu", 3))
            return true;
        word += length + 1;
    }
    return false;
}

/* A line of /proc/self/cgroup is "number:controllers:path"; version 2 names no controllers. */
static double line_quota(char *line)
{
    line[strcspn(line, "\n")] = '\0';
    char *list = strchr(line, ':');
    char *path = list ? strchr(list + 1, ':') : NULL;
    if (!path)
        return 0;
    list++;
    if (list == path)
        return path_quota("/sys/fs/cgroup", path + 1);
    return lists_cpu(list, path) ? path_quota("/sys/fs/cgroup/cpu", path + 1) : 0;
}

static double group_quota(void)
{
    FILE *file = fopen("/proc/self/cgroup", "re");
    if (!file)
        return 0;
    char line[PATH_BYTES];
    double least = 0;
    while (fgets(line, sizeof line, file)) {
        const double quota = line_quota(line);
        if (quota > 0 && (least == 0 || quota < least))
            least = quota;
    }
    fclose(file);
    return least;
}

#else

static int affinity_cpus(void) { return 0; }

static double group_quota(void) { return 0; }

#endif

int fc_default_threads(void)
{
    int count = count_from("FASTCONV_NUM_THREADS");
    if (count == 0)
        count = count_from("OMP_NUM_THREADS");
    if (count > 0)
        return count;
    count = affinity_cpus();
    if (count < 1)
        count = (int)sysconf(_SC_NPROCESSORS_ONLN);
    const double quota = group_quota();
    if (quota > 0 && quota < count)
        count = (int)quota;
    return count > 1 ? count : 1;
}
