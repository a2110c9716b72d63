/* cpu_count.h: how many threads are worth having where nobody has said so. */
#ifndef FC_CPU_COUNT_H
#define FC_CPU_COUNT_H

/* FASTCONV_NUM_THREADS, else OMP_NUM_THREADS (its first number), where that is a whole number above
 * zero; else the CPUs of the affinity mask, or the CPU quota of the control group, rounded down,
 * where that is less. At least 1. */
int fc_default_threads(void);

#endif
