/* output_pool.h: memory for large outputs, which the arrays that die give back for the next call.
 *
 * Not a part of the C API, whose callers own every array: it is what the Python module hangs below
 * the arrays it makes. */
#ifndef FC_OUTPUT_POOL_H
#define FC_OUTPUT_POOL_H

#include <stddef.h>

/* Memory of at least that many bytes on a cache line, its content unspecified; NULL: none to be had.
 * Any thread may give it back; NULL is fine. */
void *fc_output_acquire(size_t bytes);
void fc_output_release(void *memory);

/* The bytes that can be used at memory handed out, at least those asked for. */
size_t fc_output_capacity(const void *memory);

/* How many bytes of memory given back may wait for use; 0 keeps none. What is over is freed now. */
void fc_set_output_pool(size_t bytes);
size_t fc_get_output_pool(void);

/* The bytes that wait for use. */
size_t fc_output_pool_held(void);

#endif
