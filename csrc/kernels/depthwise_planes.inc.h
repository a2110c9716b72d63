/* depthwise_planes.inc.h: depthwise convolution with columns in the lanes.
 *
 * The outputs of all rows as one long row, gaps included, so that narrow planes do not end in
 * ragged vectors: 19 columns of 21 are of use, where rows of 19 would fill 19 lanes of 32. A tap is a
 * shift of x: 36 loads, most of them across two cache lines, for 36 multiply-adds on 4 vectors. */
enum { PLANE_VECTORS = 4 };

/* Row i of outputs, from the strip to y. */
static void finish_plane_row(const struct fc_depthwise_plane *plane, int64_t i)
{
    const struct fc_finish finish = {
        .block = {.y = (real *)plane->y + i * plane->y_row, .y_pixel = plane->y_pixel},
        .bias = plane->bias,
        .residual =
            plane->residual ? (const real *)plane->residual + i * plane->residual_row : NULL,
        .residual_pixel = plane->residual_pixel,
        .activation = plane->activation,
    };
    finish_row(&finish, (const real *)plane->strip + i * plane->pitch, 0, plane->columns, 0);
}

/* Four vectors of the long row of outputs; taps is a constant where it is a usual number. */
FC_INLINE void plane_sums(const struct fc_depthwise_plane *plane, const int64_t taps)
{
    const real *x = plane->x, *kernel = plane->kernel;
    real *strip = plane->strip;
    for (int64_t o = 0; o < plane->rows * plane->pitch; o += PLANE_VECTORS * LANES) {
        vreal sum[PLANE_VECTORS];
        FC_UNROLL (v, PLANE_VECTORS)
            sum[v] = vzero();
        for (int64_t t = 0; t < taps; t++) {
            const vreal w = vset1(kernel[t * plane->kernel_step]);
            const real *shifted = x + plane->offset[t] + o;
            FC_UNROLL (v, PLANE_VECTORS)
                sum[v] = vfma(vload(shifted + v * LANES), w, sum[v]);
        }
        FC_UNROLL (v, PLANE_VECTORS)
            vstore(strip + o + v * LANES, sum[v]);
    }
}

static void depthwise_plane(const struct fc_depthwise_plane *plane)
{
    const bool plain =
        !plane->bias && !plane->residual && plane->activation == FC_LINEAR && plane->y_pixel == 1;
    plane_sums(plane, plane->taps);
    for (int64_t i = 0; i < plane->rows; i++)
        if (plain)
            copy_line((const real *)plane->strip + i * plane->pitch,
                      (real *)plane->y + i * plane->y_row, plane->columns);
        else
            finish_plane_row(plane, i);
}

static void pack_depthwise_band(const struct fc_depthwise_band *band)
{
    const vreal value = vset1((real)band->value);
    const int64_t phases = band->column_phases, left = band->left;
    real *all = band->to;
    int64_t e = 0;
    for (; e + LANES <= band->elements; e += LANES)
        vstore(all + e, value);
    if (e < band->elements)
        vstore_first(all + e, value, (int)(band->elements - e));
    for (int64_t r = 0; r < band->rows; r++) {
        const real *x = (const real *)band->x + r * band->x_row;
        const int64_t t = band->top + r;
        real *to = all + t % band->row_phases * phases * band->phase_elements +
                   t / band->row_phases * band->pitch;
        if (phases == 1) {
            copy_line(x, to + left, band->columns);
        } else if (phases == 2) {
            const int64_t odd = left % 2;
            if (odd)
                to[band->phase_elements + left / 2] = x[0];
            split_pairs(x + odd, to + (left + odd) / 2,
                        to + band->phase_elements + (left + odd) / 2, band->columns - odd);
        } else {
            for (int64_t j = 0; j < band->columns; j++)
                to[(left + j) % phases * band->phase_elements + (left + j) / phases] = x[j];
        }
    }
}
