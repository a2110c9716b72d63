# The C API as _fastconv_core sees it: a mirror of csrc/fastconv.h, and the pool of outputs.
from libc.stdint cimport int64_t


cdef extern from "fastconv.h" nogil:
    const char *FC_VERSION

    ctypedef enum fc_status:
        FC_OK
        FC_NO_MEMORY
        FC_BAD_ARGUMENT
        FC_BAD_STRIDES
        FC_BAD_DILATION
        FC_BAD_GROUPS
        FC_BAD_CHANNELS
        FC_BAD_PADDING
        FC_PADDING_TOO_LARGE
        FC_BAD_OUTPUT_PADDING
        FC_EMPTY_KERNEL
        FC_EMPTY_OUTPUT
        FC_OVERFLOW
        FC_BAD_SHAPE
        FC_BAD_INDEX
        FC_BAD_ALGORITHM
        FC_PACKED_MISMATCH

    ctypedef enum fc_dtype:
        FC_FLOAT32
        FC_FLOAT64
    ctypedef enum fc_padding:
        FC_VALID
        FC_SAME
        FC_SAME_LOWER
        FC_EXPLICIT
    ctypedef enum fc_padding_mode:
        FC_CONSTANT
        FC_REFLECT
        FC_EDGE
        FC_WRAP
    ctypedef enum fc_activation:
        FC_LINEAR
        FC_RELU
        FC_RELU6
    ctypedef enum fc_algorithm:
        FC_AUTO
        FC_DIRECT
        FC_WINOGRAD
    ctypedef enum fc_pooling:
        FC_MAX
        FC_MIN
        FC_AVG
    ctypedef enum fc_function:
        FC_EXP
        FC_LOG
        FC_TANH
        FC_SIGMOID

    ctypedef struct fc_image:
        void *data
        int64_t n
        int64_t h
        int64_t w
        int64_t c
        int64_t stride_n
        int64_t stride_h
        int64_t stride_w
        int64_t stride_c

    ctypedef struct fc_weights:
        void *data
        int64_t kh
        int64_t kw
        int64_t c_in
        int64_t c_out
        int64_t stride_kh
        int64_t stride_kw
        int64_t stride_c_in
        int64_t stride_c_out

    ctypedef struct fc_conv2d_params:
        fc_dtype dtype
        int64_t strides[2]
        int64_t dilation_rate[2]
        fc_padding padding
        int64_t explicit_padding[2][2]
        int64_t groups
        fc_padding_mode padding_mode
        double padding_value
        fc_algorithm algorithm

    ctypedef struct fc_epilogue:
        const void *bias
        const fc_image *residual
        fc_activation activation

    ctypedef struct fc_pool2d_params:
        fc_dtype dtype
        fc_pooling pooling
        int64_t pool_size[2]
        int64_t strides[2]
        int64_t dilation_rate[2]
        fc_padding padding
        int64_t explicit_padding[2][2]
        bint ceil_mode
        bint count_include_pad

    ctypedef struct fc_packed_kernel:
        pass

    fc_status fc_conv2d_output_size(const fc_conv2d_params *, int64_t, int64_t, int64_t, int64_t,
                                    int64_t *, int64_t *)
    fc_status fc_conv2d(const fc_conv2d_params *, const fc_image *, const fc_weights *,
                        const fc_epilogue *, const fc_image *)
    fc_status fc_conv2d_backward(const fc_conv2d_params *, const fc_image *, const fc_image *,
                                 const fc_weights *, const fc_image *, const fc_weights *, void *)
    fc_status fc_pack_kernel(const fc_conv2d_params *, const fc_weights *, int64_t, int64_t,
                             fc_packed_kernel **)
    void fc_packed_kernel_free(fc_packed_kernel *)
    fc_status fc_conv2d_packed(const fc_conv2d_params *, const fc_image *,
                               const fc_packed_kernel *, const fc_epilogue *, const fc_image *)
    fc_status fc_conv2d_transpose_output_size(const fc_conv2d_params *, const int64_t *, int64_t,
                                              int64_t, int64_t, int64_t, int64_t *, int64_t *)
    fc_status fc_conv2d_transpose(const fc_conv2d_params *, const int64_t *, const fc_image *,
                                  const fc_weights *, const void *, const fc_image *)
    fc_status fc_conv2d_transpose_backward(const fc_conv2d_params *, const int64_t *,
                                           const fc_image *, const fc_image *, const fc_weights *,
                                           const fc_image *, const fc_weights *, void *)
    fc_status fc_pool2d_output_size(const fc_pool2d_params *, int64_t, int64_t, int64_t *,
                                    int64_t *)
    fc_status fc_pool2d(const fc_pool2d_params *, const fc_image *, const fc_image *,
                        const fc_image *)
    fc_status fc_pool2d_backward(const fc_pool2d_params *, const fc_image *, const fc_image *,
                                 const fc_image *, const fc_image *)
    fc_status fc_global_avg_pool2d(fc_dtype, const fc_image *, const fc_image *)
    fc_status fc_global_avg_pool2d_backward(fc_dtype, const fc_image *, const fc_image *)
    fc_status fc_elementwise(fc_dtype, fc_function, int64_t, const void *, void *)
    fc_status fc_activation_backward(fc_dtype, fc_activation, int64_t, const void *, const void *,
                                     void *)
    fc_status fc_softmax(fc_dtype, int64_t, int64_t, const void *, void *)

    int fc_get_num_threads()
    fc_status fc_set_num_threads(int)
    int fc_set_thread_limit(int)
    void fc_set_flush_denormals(bint)
    bint fc_get_flush_denormals()
    const char *fc_isa_name()
    const char *fc_available_isa(int)
    bint fc_force_isa(const char *)
    double fc_fma_peak(fc_dtype, int, double)


cdef extern from "pool2d_marks.h" nogil:
    ctypedef bint c_bool "bool"
    fc_status fc_pool2d_marked(const fc_pool2d_params *, const fc_image *, const fc_image *,
                               const fc_image *, c_bool *)
    fc_status fc_pool2d_marked_backward(const fc_pool2d_params *, const fc_image *,
                                        const fc_image *, fc_activation, const fc_image *,
                                        c_bool *)


cdef extern from "conv2d_pooled.h" nogil:
    fc_status fc_conv2d_pooled(const fc_conv2d_params *, const fc_pool2d_params *,
                               const fc_image *, const fc_weights *, const fc_epilogue *,
                               const fc_image *, const fc_image *, c_bool *)
    c_bool fc_fits_conv2d_pooled(const fc_conv2d_params *, const fc_image *, const fc_weights *,
                                 const fc_image *)
    fc_status fc_conv2d_pooled_backward(const fc_conv2d_params *, const fc_image *,
                                        const fc_image *, fc_activation, const fc_image *,
                                        const fc_weights *, void *, c_bool *)


cdef extern from "parallel.h" nogil:
    void fc_force_worker_share(int64_t)


cdef extern from "output_pool.h" nogil:
    void *fc_output_acquire(size_t)
    void fc_output_release(void *)
    size_t fc_output_capacity(const void *)
    void fc_set_output_pool(size_t)
    size_t fc_get_output_pool()
    size_t fc_output_pool_held()


cdef extern from "floating_point.h" nogil:
    ctypedef struct fc_float_state:
        pass
    fc_float_state fc_float_enter(bint flush)
    void fc_float_leave(fc_float_state before)
