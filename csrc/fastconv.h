/* fastconv.h: convolution and pooling of images on the CPU, as a C library.
 *
 * Build: compile every .c file below csrc/ as C11 with -ffp-contract=off, link with -pthread -lm;
 * with gcc on x86-64 -mno-mmx too, or long doubles of the caller may become NaN. No other flag, no
 * configuration: the kernels of every instruction set the compiler knows are built, and the best
 * one that the CPU has is taken when the library is first used.
 *
 * Promises that hold for every function here:
 *   - Arguments are checked before anything is written. A status other than FC_OK means that no
 *     output was touched, except FC_NO_MEMORY, FC_BAD_INDEX and, where several gradients are asked for
 *     at once, FC_OVERFLOW, after which outputs hold no result.
 *   - The caller owns every array. Inputs are only read; outputs must not overlap inputs. Nothing is
 *     kept after the call returns, except what fc_pack_kernel hands out.
 *   - Any function may be called from any number of threads at once, also in the child of a fork.
 *   - Results do not depend on the number of threads, on alignment or on strides, nor on the
 *     instruction set as long as it has fused multiply-add (generic has not).
 * Not promised: a stable binary interface between versions.
 */
#ifndef FASTCONV_H
#define FASTCONV_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FC_VERSION "0.1.0"

/* ------------------------------------------------------------------ words */

typedef enum fc_status {
    FC_OK = 0,
    FC_NO_MEMORY,          /* scratch memory or a thread's stack could not be had */
    FC_BAD_ARGUMENT,       /* a size below zero, a NULL that is needed, an unknown enumerator */
    FC_BAD_STRIDES,        /* strides below 1 */
    FC_BAD_DILATION,       /* dilation_rate below 1 */
    FC_BAD_GROUPS,         /* groups below 1, or not a divisor of c_in and c_out */
    FC_BAD_CHANNELS,       /* x->c is not kernel->c_in * groups */
    FC_BAD_PADDING,        /* explicit padding below 0 */
    FC_PADDING_TOO_LARGE,  /* pooling: as large as the window; reflect: over n - 1; wrap: over n */
    FC_BAD_OUTPUT_PADDING, /* not 0 <= output_padding < max(stride, dilation) */
    FC_EMPTY_KERNEL,       /* kh, kw or a pool_size below 1 */
    FC_EMPTY_OUTPUT,       /* the output would have no pixels */
    FC_OVERFLOW,           /* a size or a count of bytes does not fit */
    FC_BAD_SHAPE,          /* the sizes of an array are not those the others ask for */
    FC_BAD_INDEX,          /* an index given to a pooling gradient lies outside its plane */
    FC_BAD_ALGORITHM,      /* the algorithm does not exist, or does not fit the problem */
    FC_PACKED_MISMATCH /* a packed kernel is used with another geometry, dtype, algorithm or input size */
} fc_status;

typedef enum fc_dtype { FC_FLOAT32, FC_FLOAT64 } fc_dtype;
typedef enum fc_padding { FC_VALID, FC_SAME, FC_SAME_LOWER, FC_EXPLICIT } fc_padding;
typedef enum fc_padding_mode { FC_CONSTANT, FC_REFLECT, FC_EDGE, FC_WRAP } fc_padding_mode;
typedef enum fc_activation { FC_LINEAR, FC_RELU, FC_RELU6 } fc_activation;
/* FC_WINOGRAD takes kernels of 2 x 2 to 12 x 12, of 1 x 3 to 1 x 36 and upright, with strides 1, dilation 1 unless
 * padding is constant; with strides 2 those of 3 or 4 rows and columns, of 5 or 6, or of 7 or 8, dilation 1 and
 * constant padding; groups of at least 64 bytes of channels, at most 4096 channels. Of up to 8 input channels it takes
 * those with 3 to 5 columns of taps a stride, dilation 1, if strides times channels are at most 16, channels times
 * strides times rows of taps 8 to 256, and of units of 64 bytes of outputs and tiles of 4 of their columns (2 of 5
 * taps) no more than a fifth and a quarter of what there is remains empty. FC_AUTO chooses, from the shape of one
 * sample, the dtype and whether the kernel is packed. */
typedef enum fc_algorithm { FC_AUTO, FC_DIRECT, FC_WINOGRAD } fc_algorithm;
typedef enum fc_pooling { FC_MAX, FC_MIN, FC_AVG } fc_pooling;

/* ----------------------------------------------------------------- arrays */

/* n images of h x w pixels with c channels. Strides are counted in elements and may be anything:
 * channels last is {h * w * c, w * c, c, 1}, channels first {c * h * w, w, 1, h * w}. The data is
 * aligned to its element. A gradient has the sizes of what it is the gradient of. */
typedef struct fc_image {
    void *data;
    int64_t n, h, w, c;
    int64_t stride_n, stride_h, stride_w, stride_c;
} fc_image;

/* A convolution's kernel: kh x kw taps, c_in channels of each group, c_out outputs of all groups. */
typedef struct fc_weights {
    void *data;
    int64_t kh, kw, c_in, c_out;
    int64_t stride_kh, stride_kw, stride_c_in, stride_c_out;
} fc_weights;

/* ------------------------------------------------------------ convolution */

/* Pairs are {vertical, horizontal}. explicit_padding is {{top, bottom}, {left, right}} and is read
 * for FC_EXPLICIT alone; padding_value for FC_CONSTANT alone. */
typedef struct fc_conv2d_params {
    fc_dtype dtype;
    int64_t strides[2];
    int64_t dilation_rate[2];
    fc_padding padding;
    int64_t explicit_padding[2][2];
    int64_t groups;
    fc_padding_mode padding_mode;
    double padding_value;
    fc_algorithm algorithm;
} fc_conv2d_params;

/* What is done to a sum before it is stored: y = activation(sum + bias + residual). */
typedef struct fc_epilogue {
    const void *bias;         /* c_out contiguous elements, or NULL */
    const fc_image *residual; /* sizes of y, or NULL */
    fc_activation activation;
} fc_epilogue;

/* The size of y: with k_eff = (k - 1) * dilation + 1,
 *   same:      ceil(n / stride), padded by max((out - 1) * stride + k_eff - n, 0), half before
 *   otherwise: floor((n + before + after - k_eff) / stride) + 1 */
fc_status fc_conv2d_output_size(const fc_conv2d_params *params, int64_t h, int64_t w, int64_t kh,
                                int64_t kw, int64_t *y_h, int64_t *y_w);

/* y[n, i, j, k] = sum over taps (p, q) and channels c of k's group of
 *   x[n, i * stride + p * dilation - top, j * stride + q * dilation - left, c] * kernel[p, q, c, k]
 * x is n x h x w x c_in, kernel kh x kw x (c_in / groups) x c_out, y n x y_h x y_w x c_out. */
fc_status fc_conv2d(const fc_conv2d_params *params, const fc_image *x, const fc_weights *kernel,
                    const fc_epilogue *epilogue, const fc_image *y);

/* The gradients of fc_conv2d without its epilogue; NULL for one that is not wanted.
 *   dx      the adjoint of y over x          (kernel is read, x may be NULL)
 *   dkernel sum over pixels of x * dy        (x is read, kernel may be NULL)
 *   dbias   sum over pixels of dy, c_out contiguous elements
 * Sizes are taken from dx, dkernel, x and kernel, whichever are given. */
fc_status fc_conv2d_backward(const fc_conv2d_params *params, const fc_image *dy, const fc_image *x,
                             const fc_weights *kernel, const fc_image *dx,
                             const fc_weights *dkernel, void *dbias);

/* A kernel laid out for fc_conv2d_packed; immutable, good for any thread and instruction set. Made
 * for one geometry and one input size h x w; freed by fc_packed_kernel_free (NULL is fine). Its
 * results may differ in their last bits from those of fc_conv2d. */
typedef struct fc_packed_kernel fc_packed_kernel;
fc_status fc_pack_kernel(const fc_conv2d_params *params, const fc_weights *kernel, int64_t h,
                         int64_t w, fc_packed_kernel **packed);
void fc_packed_kernel_free(fc_packed_kernel *packed);
fc_status fc_conv2d_packed(const fc_conv2d_params *params, const fc_image *x,
                           const fc_packed_kernel *packed, const fc_epilogue *epilogue,
                           const fc_image *y);

/* -------------------------------------------------- transposed convolution */

/* output_padding is {vertical, horizontal}; NULL asks for the sizes without it. Sizes of y:
 *   NULL:          same h * stride,  valid h * stride + max(k_eff - stride, 0)
 *   same:          (h - 1) * stride + k_eff % 2 + output_padding
 *   valid:         (h - 1) * stride + k_eff + output_padding
 *   explicit:      (h - 1) * stride - before - after + k_eff + output_padding (NULL counts as 0) */
fc_status fc_conv2d_transpose_output_size(const fc_conv2d_params *params,
                                          const int64_t *output_padding, int64_t h, int64_t w,
                                          int64_t kh, int64_t kw, int64_t *y_h, int64_t *y_w);

/* The dx of a fc_conv2d whose input is y, whose output gradient is x, plus bias. kernel is
 * kh x kw x (c_out / groups) x c_in, where c_in counts x's channels: in the words of fc_weights its
 * c_in is y->c / groups and its c_out is x->c. Zero padding, no epilogue but the bias. */
fc_status fc_conv2d_transpose(const fc_conv2d_params *params, const int64_t *output_padding,
                              const fc_image *x, const fc_weights *kernel, const void *bias,
                              const fc_image *y);
fc_status fc_conv2d_transpose_backward(const fc_conv2d_params *params,
                                       const int64_t *output_padding, const fc_image *dy,
                                       const fc_image *x, const fc_weights *kernel,
                                       const fc_image *dx, const fc_weights *dkernel, void *dbias);

/* ---------------------------------------------------------------- pooling */

typedef struct fc_pool2d_params {
    fc_dtype dtype;
    fc_pooling pooling;
    int64_t pool_size[2];
    int64_t strides[2];
    int64_t dilation_rate[2];
    fc_padding padding;
    int64_t explicit_padding[2][2];
    bool ceil_mode;
    bool count_include_pad; /* FC_AVG alone */
} fc_pool2d_params;

/* As fc_conv2d_output_size; in ceil mode floor((n + before + after - k_eff + stride - 1) / stride)
 * + 1, less one where the last window would begin at or beyond n + before. */
fc_status fc_pool2d_output_size(const fc_pool2d_params *params, int64_t h, int64_t w, int64_t *y_h,
                                int64_t *y_w);

/* y = the maximum, minimum or average of each window; padding never wins and never counts (unless
 * count_include_pad). A window all in padding gives -inf, inf or 0. NaN propagates. indices (int64,
 * FC_MAX and FC_MIN alone) may be NULL; it has the sizes of y and receives h * x->w + w of the first
 * winner in row-major order, or -1. */
fc_status fc_pool2d(const fc_pool2d_params *params, const fc_image *x, const fc_image *y,
                    const fc_image *indices);

/* dx of fc_pool2d. FC_MAX and FC_MIN read the winners from indices, or where that is NULL find them
 * again in x; FC_AVG needs neither (dx has the sizes of x). */
fc_status fc_pool2d_backward(const fc_pool2d_params *params, const fc_image *dy, const fc_image *x,
                             const fc_image *indices, const fc_image *dx);

/* y[n, 0, 0, c] = the mean over the pixels of x, and its gradient. Global maxima are fc_pool2d with
 * pool_size = {h, w}. */
fc_status fc_global_avg_pool2d(fc_dtype dtype, const fc_image *x, const fc_image *y);
fc_status fc_global_avg_pool2d_backward(fc_dtype dtype, const fc_image *dy, const fc_image *dx);

/* -------------------------------------------- elementwise, the same bits on every CPU */

typedef enum fc_function { FC_EXP, FC_LOG, FC_TANH, FC_SIGMOID } fc_function;

/* y[i] = f(x[i]) for count contiguous elements; x and y may be the same array. */
fc_status fc_elementwise(fc_dtype dtype, fc_function function, int64_t count, const void *x,
                         void *y);

/* The way back through an activation whose result was y: dx[i] = dy[i] where y[i] > 0 (FC_RELU) or
 * 0 < y[i] < 6 (FC_RELU6), +0 elsewhere and for NaN; all of dy for FC_LINEAR. dx may be dy or y. */
fc_status fc_activation_backward(fc_dtype dtype, fc_activation activation, int64_t count,
                                 const void *dy, const void *y, void *dx);

/* y[r, :] = exp(x[r, :]) / sum(exp(x[r, :])), shifted by the row's maximum; contiguous rows. */
fc_status fc_softmax(fc_dtype dtype, int64_t rows, int64_t columns, const void *x, void *y);

/* ---------------------------------------------------------------- control */

/* The threads that a call from the calling thread may use: those of the process, which are
 * FASTCONV_NUM_THREADS, else OMP_NUM_THREADS, else the CPUs that the affinity mask and the cgroup
 * quota allow, or the limit below. fc_set_num_threads(n) changes those of the process, n >= 1. */
int fc_get_num_threads(void);
fc_status fc_set_num_threads(int n);

/* A limit for calls from the calling thread alone; 0 lifts it. Returns the limit before. */
int fc_set_thread_limit(int n);

/* Convolutions flush denormal numbers to zero, inside the call alone; pooling never does. */
void fc_set_flush_denormals(bool flush);
bool fc_get_flush_denormals(void);

/* "generic", "avx2", "avx512" or "neon". fc_isa_name is the one in use, or NULL where FASTCONV_ISA
 * names one that this CPU or build lacks. fc_available_isa(i) lists them from 0 up to NULL. */
const char *fc_isa_name(void);
const char *fc_available_isa(int i);

/* For tests: calls from the calling thread use that table; NULL ends it. False: not available. */
bool fc_force_isa(const char *name);

/* For benchmarks: fused multiply-adds that nothing holds up, in floating-point operations per
 * second (2 a multiply-add), best of the windows that fit into the time, summed over the threads. */
double fc_fma_peak(fc_dtype dtype, int threads, double seconds);

#ifdef __cplusplus
}
#endif

#endif
