/* scratch.c: the memory that calls take beside their arrays does not grow with the image.
 *
 * Every kind of call, in both precisions, on images of a fixed number of pixels, square, wide and high,
 * and on smaller ones, with 1 thread and with several. Beyond the packed kernel, a thread may have BOUND. */
#define _GNU_SOURCE
#include <inttypes.h>
#include <math.h>

#include "counted_memory.h"

#include "fastconv.h"

enum { BOUND = 4 << 20, THREADS = 4, MOST_ELEMENTS = 384 * 384 * 64 };

static const int64_t sizes[][2] = {{64, 64}, {384, 384}, {12, 12288}, {12288, 12}};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

static const struct layer {
    const char *name;
    int64_t c_in, c_out, kernel, stride, dilation, groups;
    fc_padding_mode mode;
} layers[] = {
    {"3x3", 16, 24, 3, 1, 1, 1, FC_CONSTANT},
    {"3x3 wide", 64, 64, 3, 1, 1, 1, FC_CONSTANT},
    {"stem", 3, 16, 7, 2, 1, 1, FC_CONSTANT},
    {"one channel", 1, 6, 5, 1, 1, 1, FC_CONSTANT},
    {"1x1", 48, 32, 1, 1, 1, 1, FC_CONSTANT},
    {"dilated", 12, 16, 3, 1, 12, 1, FC_CONSTANT},
    {"strided", 16, 16, 3, 3, 1, 1, FC_CONSTANT},
    {"grouped", 24, 24, 3, 1, 1, 3, FC_CONSTANT},
    {"depthwise", 32, 32, 3, 1, 1, 32, FC_CONSTANT},
    {"11x11", 4, 8, 11, 1, 1, 1, FC_CONSTANT},
    {"reflected", 8, 8, 5, 1, 1, 1, FC_REFLECT},
    {"reflected wide", 64, 8, 3, 1, 1, 1, FC_REFLECT},
    {"5x5 wide", 96, 96, 5, 1, 1, 1, FC_CONSTANT},
    {"deep", 256, 256, 3, 1, 1, 1, FC_CONSTANT},
    {"1x1 deep", 512, 384, 1, 1, 1, 1, FC_CONSTANT},
    {"deep strided", 256, 192, 3, 2, 1, 1, FC_CONSTANT},
    {"1x1 square", 256, 256, 1, 1, 1, 1, FC_CONSTANT},
    {"7x7 wide", 96, 64, 7, 1, 1, 1, FC_CONSTANT},
};

static long most; /* of any call, beyond its packed kernel, a thread */
static long calls;
static const char *what;

static void require(bool truth, const char *problem)
{
    if (!truth) {
        printf("scratch: %s: %s\n", what, problem);
        exit(1);
    }
}

/* Looks at the peak since begin_call, of which `kernel` bytes are a packed kernel. */
static void end_call(fc_status status, const char *name, int64_t h, int64_t w, int threads,
                     double kernel)
{
    what = name;
    require(status == FC_OK, "failed");
    const double bytes = ((double)atomic_load(&peak_bytes) - kernel) / threads;
    if (bytes > BOUND) {
        printf("scratch: %s, %" PRId64 "x%" PRId64 ", %d threads: %.0f bytes a thread\n", name, h,
               w, threads, bytes);
        exit(1);
    }
    most = bytes > (double)most ? (long)bytes : most;
    calls++;
}

/* Each call begins in a thread that has nothing cached. */
struct task {
    fc_status (*run)(void *);
    void *context;
    int threads;
    fc_status status;
};

static void *run_task(void *context)
{
    struct task *task = context;
    fc_set_thread_limit(task->threads);
    task->status = task->run(task->context);
    return NULL;
}

static fc_status measured(fc_status (*run)(void *), void *context, int threads)
{
    struct task task = {run, context, threads, FC_OK};
    pthread_t thread;
    require(atomic_load(&live_bytes) == 0, "memory was lost");
    atomic_store(&peak_bytes, 0);
    require(__real_pthread_create(&thread, NULL, run_task, &task) == 0, "no thread");
    pthread_join(thread, NULL);
    return task.status;
}

/* ------------------------------------------------------------------- calls */

static char *memory; /* of all arrays: zeros, which cost nothing until they are written */
static fc_dtype dtype;
static int64_t element; /* bytes */

struct convolution {
    fc_conv2d_params params;
    fc_image x, y;
    fc_weights kernel;
    bool up;
};

static fc_status forward(void *context)
{
    const struct convolution *c = context;
    return c->up ? fc_conv2d_transpose(&c->params, NULL, &c->y, &c->kernel, NULL, &c->x)
                 : fc_conv2d(&c->params, &c->x, &c->kernel, NULL, &c->y);
}

static fc_status backward_x(void *context)
{
    const struct convolution *c = context;
    return fc_conv2d_backward(&c->params, &c->y, NULL, &c->kernel, &c->x, NULL, NULL);
}

static fc_status backward_kernel(void *context)
{
    const struct convolution *c = context;
    return fc_conv2d_backward(&c->params, &c->y, &c->x, NULL, NULL, &c->kernel, NULL);
}

static fc_status backward_bias(void *context)
{
    const struct convolution *c = context;
    static double dbias[512];
    return fc_conv2d_backward(&c->params, &c->y, &c->x, &c->kernel, NULL, NULL, dbias);
}

/* An image that begins so many elements into the memory. */
static fc_image image(int64_t begin, int64_t h, int64_t w, int64_t c, bool first)
{
    fc_image made = {memory + begin * element, 1, h, w, c, h * w * c, w * c, c, 1};
    if (first)
        made.stride_h = w, made.stride_w = 1, made.stride_c = h * w;
    return made;
}

/* Packed, a kernel is rounded up to whole panels of channels; a gradient is summed in 16 pieces. */
static double kernel_bytes(const struct layer *layer, int pieces)
{
    const double c_in = (double)(layer->c_in / layer->groups + 15);
    return pieces * c_in * (double)(layer->c_out + 32 * layer->groups) *
           (double)(layer->kernel * layer->kernel * element);
}

static void *pack(void *context)
{
    const struct convolution *c = context;
    fc_packed_kernel *packed;
    require(fc_pack_kernel(&c->params, &c->kernel, c->x.h, c->x.w, &packed) == FC_OK, "packing");
    return packed;
}

/* What a packed kernel takes, which a call packs for itself: Winograd's has 36 numbers for 9. An input
 * gradient may take tiles where the forward pass does not, of at most 64 numbers for 9. */
static double packed_bytes(struct convolution *c)
{
    void *packed;
    pthread_t thread; /* what the library keeps for it ends with it */
    require(__real_pthread_create(&thread, NULL, pack, c) == 0, "no thread");
    pthread_join(thread, &packed);
    const long bytes = atomic_load(&live_bytes);
    fc_packed_kernel_free(packed);
    return (double)bytes;
}

static void convolve(const struct layer *layer, int64_t h, int64_t w, bool first, int threads)
{
    while (h * w * layer->c_in > MOST_ELEMENTS) /* deep layers have small images */
        *(h > w ? &h : &w) /= 2;
    const int64_t k = layer->kernel, c = layer->c_in / layer->groups, o = layer->c_out;
    struct convolution problem = {.params = {.dtype = dtype,
                                             .strides = {layer->stride, layer->stride},
                                             .dilation_rate = {layer->dilation, layer->dilation},
                                             .padding = FC_SAME,
                                             .groups = layer->groups,
                                             .padding_mode = layer->mode}};
    int64_t y_h, y_w;
    what = layer->name;
    require(fc_conv2d_output_size(&problem.params, h, w, k, k, &y_h, &y_w) == FC_OK, "size");
    problem.x = image(0, h, w, layer->c_in, first);
    problem.y = image(h * w * layer->c_in, y_h, y_w, o, first);
    problem.kernel = (fc_weights){problem.x.data, k, k, c, o, k * c * o, c * o, o, 1};
    static double kernel[256 * 256 * 9];
    problem.kernel.data = kernel;
    const double rounded = kernel_bytes(layer, 1), made = packed_bytes(&problem);
    const double packed = made > rounded ? made : rounded, sums = kernel_bytes(layer, 16);
    const double turned = fmax(packed, rounded * 64 / 9);
    end_call(measured(forward, &problem, threads), layer->name, h, w, threads, packed);
    end_call(measured(backward_x, &problem, threads), layer->name, h, w, threads, turned);
    end_call(measured(backward_kernel, &problem, threads), layer->name, h, w, threads, sums);
    end_call(measured(backward_bias, &problem, threads), layer->name, h, w, threads, 0);
    problem.up = true;
    if (layer->mode == FC_CONSTANT && h % layer->stride == 0 && w % layer->stride == 0)
        end_call(measured(forward, &problem, threads), layer->name, h, w, threads, turned);
}

struct pooling {
    fc_pool2d_params params;
    fc_image x, y;
};

static fc_status pool(void *context)
{
    const struct pooling *p = context;
    return fc_pool2d(&p->params, &p->x, &p->y, NULL);
}

static fc_status pool_backward(void *context)
{
    const struct pooling *p = context;
    fc_image dx = p->x;
    dx.data = (char *)p->y.data + p->y.h * p->y.w * p->y.c * element;
    return fc_pool2d_backward(&p->params, &p->y, &p->x, NULL, &dx);
}

static void pool_all(int64_t h, int64_t w, bool first, int threads)
{
    static const int64_t windows[][2] = {{2, 2}, {3, 1}, {15, 4}};
    for (fc_pooling pooling = FC_MAX; pooling <= FC_AVG; pooling++)
        for (size_t i = 0; i < sizeof windows / sizeof windows[0]; i++) {
            const int64_t size = windows[i][0], stride = windows[i][1];
            struct pooling problem = {.params = {.dtype = dtype,
                                                 .pooling = pooling,
                                                 .pool_size = {size, size},
                                                 .strides = {stride, stride},
                                                 .dilation_rate = {1, 1},
                                                 .padding = FC_SAME}};
            int64_t y_h, y_w;
            what = "pooling";
            require(fc_pool2d_output_size(&problem.params, h, w, &y_h, &y_w) == FC_OK, "size");
            problem.x = image(0, h, w, 8, first);
            problem.y = image(h * w * 8, y_h, y_w, 8, first);
            end_call(measured(pool, &problem, threads), "pooling", h, w, threads, 0);
            end_call(measured(pool_backward, &problem, threads), "pooling gradient", h, w, threads,
                     0);
        }
}

static void call_all(int64_t h, int64_t w, bool first, int threads)
{
    for (size_t l = 0; l < sizeof layers / sizeof layers[0]; l++)
        convolve(&layers[l], h, w, first, threads);
    pool_all(h, w, first, threads);
}

int main(void)
{
    memory = __real_calloc((size_t)MOST_ELEMENTS * 3, sizeof(double));
    fc_set_num_threads(THREADS);
    for (dtype = FC_FLOAT32; memory && dtype <= FC_FLOAT64; dtype++) {
        element = dtype == FC_FLOAT32 ? sizeof(float) : sizeof(double);
        for (int i = 0; i < SIZES; i++)
            for (int first = 0; first < 2; first++)
                call_all(sizes[i][0], sizes[i][1], first,
                         i == 1 ? THREADS : 1); /* the square one */
    }
    printf("trust: scratch calls=%ld bytes_a_thread=%ld allowed=%d\n", calls, most, BOUND);
    return memory == NULL;
}
