/* parallel.h: loops over independent items, shared among the threads of fastconv's own pool.
 *
 * Every computation of the library runs inside fc_parallel_for, also where one thread is enough: it
 * sets the floating-point state (round to nearest, denormals flushed or not) on each thread that
 * takes part, and restores it. */
#ifndef FC_PARALLEL_H
#define FC_PARALLEL_H

#include <stdbool.h>
#include <stdint.h>

/* worker is in [0, width) and no two items run on one worker at once: it indexes scratch memory.
 * A task must not fork; a loop started inside a task runs on that task's thread alone. */
typedef void fc_task(void *context, int64_t item, int worker);

/* Whether denormal operands and results count as zero inside a loop; FC_FLUSH_DENORMALS gives way
 * to fc_set_flush_denormals(false). */
enum fc_denormals { FC_KEEP_DENORMALS, FC_FLUSH_DENORMALS };

/* What moving one element through memory counts in the work of a loop that computes little: 1 in
 * the time of 16 to 40 multiply-adds in registers. */
enum { FC_WORK_PER_ELEMENT = 32 };

/* What one element of a window counts in a pooling, from the caches: 40 to 100 ps. */
enum { FC_WORK_PER_TAP = 6 };

/* How many workers a loop of that many items and that much work is worth: between 1 and the threads
 * the calling thread may use. Work is counted in floating-point operations (2 a multiply-add),
 * FC_WORK_PER_ELEMENT for each element where memory is what takes the time, and FC_WORK_PER_TAP where a
 * pooling reads it. */
int fc_parallel_width(int64_t items, double work);

/* Makes the least work of a worker another, on the calling thread; 0 ends that. Meant for tests, whose
 * problems are too small to be divided otherwise. */
void fc_force_worker_share(int64_t work);

/* Runs task(context, i, worker) for every i in [0, items), in no order, on at most width workers of
 * which the calling thread is one; returns when all are done. Where another caller has the pool,
 * the calling thread does it alone. Never fails: threads that cannot be had are done without. */
void fc_parallel_for(int64_t items, int width, enum fc_denormals denormals, fc_task *task,
                     void *context);

#endif
