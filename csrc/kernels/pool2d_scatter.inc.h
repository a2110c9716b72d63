/* pool2d_scatter.inc.h: gradients added where their windows' winners are.
 *
 * One element at a time: the additions of a vector may meet in one element, and what a window costs does
 * not depend on its size. On Zen 4 a load, an addition and a store at a number that is known take 1.8 cycles,
 * so that indices become numbers first, 192 of them in vectors, which see at once whether all are in range, and
 * multiply: an index that was told from its range by itself, and multiplied, took 3.4. Outputs that follow each
 * other in one plane often meet in one element, and would wait for one another, 8 cycles: planes come side by side. */
enum { SCATTER_CHUNK = 192 };

/* Numbers of `count` indices, `pixel` times each; false where an index is not in [begin, end), or a number has more
 * than 31 bits where `end` has. */
static bool scatter_numbers(const int64_t *index, int64_t count, int64_t begin, int64_t end,
                            ptrdiff_t pixel, integer *numbers)
{
    if (count < LANES) {
        bool all = true;
        for (int64_t l = 0; l < count; l++) {
            all &= index[l] >= begin && index[l] < end;
            numbers[l] = (integer)(index[l] * pixel);
        }
        return all;
    }
    const vint first = viset1((integer)begin), last = viset1((integer)(end - 1));
    const vint step = viset1((integer)pixel);
    vint stray = viset1(0);
    for (int64_t at = 0; at < count; at += LANES) {
        const int64_t l = at + LANES <= count ? at : count - LANES;
        const vint number = viload_index(index + l);
        stray = vior(stray, vior(number, vior(visub(number, first), visub(last, number))));
        vistore(numbers + l, vimul(number, step));
    }
    return !some_negative(stray);
}

/* dx[l * lane + number[l]] += dy[l]. Of a plane, which lane 0 is, an addition waits for the one before where both meet
 * in an element. What comes after, an index and a gradient for each lane, is asked for as the loop goes, which leaves
 * room for other loads: channels of a block are no stream that a prefetcher follows. 8x13x13x512 of float64 with
 * windows of 5x5 takes 1.23 ms on Zen 4, not 1.39, of 13x13 0.91, not 1.13. */
FC_INLINE void toss_lanes(const integer *number, const real *dy, real *dx, ptrdiff_t lane,
                          int64_t lanes, const int64_t *next_index, const real *next_dy)
{
    enum { RUN = 64 / sizeof(int64_t) };
    int64_t l = 0;
    for (; l + RUN <= lanes; l += RUN) {
        if (next_index) {
            __builtin_prefetch(next_index + l);
            __builtin_prefetch(next_dy + l);
        }
        FC_UNROLL (i, RUN)
            dx[number[l + i] + (l + i) * lane] += dy[l + i];
    }
    for (; l < lanes; l++)
        dx[number[l] + l * lane] += dy[l];
}

/* The same for windows of planes side by side, whose loads all come before their stores. */
static void toss_planes(const integer *number, ptrdiff_t number_plane, ptrdiff_t number_step,
                        const real *dy, ptrdiff_t dy_plane, real *dx, ptrdiff_t dx_plane,
                        int64_t windows)
{
    enum { PLANES = FC_POOL2D_ABREAST };
    for (int64_t w = 0; w < windows; w++, number += number_step, dy++) {
        real *at[PLANES], sum[PLANES];
        FC_UNROLL (p, PLANES) {
            at[p] = dx + p * dx_plane + number[p * number_plane];
            sum[p] = *at[p] + dy[p * dy_plane];
        }
        FC_UNROLL (p, PLANES)
            *at[p] = sum[p];
    }
}

static void toss_gradients(const struct fc_pool2d_toss *given)
{
    const struct fc_pool2d_toss local = *given;
    const integer *numbers = local.numbers;
    const real *dy = local.dy;
    real *dx = local.dx;
    if (local.dy_lane == 1 && local.dx_lane == 1) {
        for (int64_t w = 0; w < local.windows; w++)
            toss_lanes(numbers + w * local.number_window, dy + w * local.dy_window, dx, 1,
                       local.lanes, NULL, NULL);
        return;
    }
    enum { PLANES = FC_POOL2D_ABREAST };
    for (int64_t l = 0, count; l < local.lanes; l += count) {
        count = local.dy_window == 1 && local.lanes - l >= PLANES ? PLANES : 1;
        if (count == PLANES)
            toss_planes(numbers, 1, local.number_window, dy, local.dy_lane, dx, local.dx_lane,
                        local.windows);
        else
            for (int64_t w = 0; w < local.windows; w++)
                dx[numbers[w * local.number_window]] += dy[w * local.dy_window];
        numbers += count;
        dy += count * local.dy_lane;
        dx += count * local.dx_lane;
    }
}

/* Windows that never meet need no order: planes, often a power of two apart, come one after the other. The loops above
 * take 1.05 times as long with a step for dx. */
static void toss_apart(const struct fc_pool2d_toss *given)
{
    const struct fc_pool2d_toss toss = *given;
    const bool planes = toss.dx_lane != 1;
    const int64_t outer = planes ? toss.lanes : toss.windows;
    const int64_t inner = planes ? toss.windows : toss.lanes;
    const ptrdiff_t number_step = planes ? toss.number_window : 1;
    const ptrdiff_t dy_step = planes ? toss.dy_window : toss.dy_lane;
    const ptrdiff_t dx_step = planes ? toss.dx_window : toss.dx_lane;
    for (int64_t o = 0; o < outer; o++) {
        const integer *number =
            (const integer *)toss.numbers + o * (planes ? 1 : toss.number_window);
        const real *dy = (const real *)toss.dy + o * (planes ? toss.dy_lane : toss.dy_window);
        real *dx = (real *)toss.dx + o * (planes ? toss.dx_lane : toss.dx_window);
        for (int64_t left = inner; left > 0; left--) {
            dx[*number] += *dy;
            number += number_step;
            dy += dy_step;
            dx += dx_step;
        }
    }
}

/* -------------------------------------------------------------------- indices */

/* Gradients from .. until, or to the first whose index is out of range. */
static int64_t scatter_rows(const struct fc_pool2d_scatter *scatter, int64_t from, int64_t until)
{
    const uint64_t begin = (uint64_t)scatter->begin, usable = (uint64_t)scatter->end - begin;
    const bool dense = scatter->dx_row == scatter->width * scatter->dx_pixel;
    for (; from < until; from++) {
        const int64_t row = from / scatter->lanes, lane = from % scatter->lanes;
        const int64_t k = scatter->index[row * scatter->index_row + lane * scatter->index_lane];
        if ((uint64_t)k - begin >= usable)
            break;
        const ptrdiff_t pixel =
            dense ? k * scatter->dx_pixel
                  : k / scatter->width * scatter->dx_row + k % scatter->width * scatter->dx_pixel;
        real *dx = (real *)scatter->dx + row * scatter->dx_offset_row;
        dx[lane * scatter->dx_offset_lane + pixel] +=
            ((const real *)scatter->dy)[row * scatter->dy_row + lane * scatter->dy_lane];
    }
    return from;
}

/* Gradients up to `until`, of lanes that lie together, or are pixels of one plane; false where an index is out of
 * range. */
static bool scatter_together(const struct fc_pool2d_scatter *scatter, int64_t from, int64_t until)
{
    const int64_t lanes = scatter->lanes;
    const ptrdiff_t offset = scatter->dx_offset_lane;
    _Alignas(64) integer numbers[SCATTER_CHUNK];
    if (!scatter_numbers(scatter->index + from / lanes * scatter->index_row + from % lanes,
                         until - from, scatter->begin, scatter->end, scatter->dx_pixel, numbers))
        return false;
    for (int64_t at = from, row = from / lanes; at < until; row++) {
        const int64_t lane = at - row * lanes, end = (row + 1) * lanes;
        const int64_t count = (end < until ? end : until) - at;
        const integer *number = numbers + (at - from);
        const int64_t *next = scatter->index + (row + 1) * scatter->index_row + lane;
        const real *dy = (const real *)scatter->dy + row * scatter->dy_row + lane;
        real *dx = (real *)scatter->dx + row * scatter->dx_offset_row + lane * offset;
        if (offset == 1)
            toss_lanes(number, dy, dx, 1, count, next, dy + scatter->dy_row);
        else
            toss_lanes(number, dy, dx, offset, count, next, dy + scatter->dy_row);
        at += count;
    }
    return true;
}

static bool scatter_planes(const struct fc_pool2d_scatter *scatter, int64_t from, int64_t until)
{
    enum { PLANES = FC_POOL2D_ABREAST };
    const int64_t row = from / PLANES, rows = until / PLANES - row;
    _Alignas(64) integer numbers[PLANES * SCATTER_CHUNK];
    for (int p = 0; p < PLANES; p++)
        if (!scatter_numbers(scatter->index + p * scatter->index_lane + row, rows, scatter->begin,
                             scatter->end, 1, numbers + p * SCATTER_CHUNK))
            return false;
    toss_planes(numbers, SCATTER_CHUNK, 1, (const real *)scatter->dy + row, scatter->dy_lane,
                scatter->dx, scatter->dx_offset_lane, rows);
    return true;
}

/* Rows of pixels without gaps, which NumPy's arrays have, need no division. */
static int64_t scatter_gradients(const struct fc_pool2d_scatter *scatter, int64_t from)
{
    enum { PLANES = FC_POOL2D_ABREAST };
    const int64_t lanes = scatter->lanes, all = scatter->rows * lanes;
    const bool dense = scatter->dx_row == scatter->width * scatter->dx_pixel;
    const bool few =
        dense && scatter->dx_pixel > 0 && scatter->end <= INT32_MAX / scatter->dx_pixel;
    const bool together = few && scatter->index_lane == 1 && scatter->dy_lane == 1;
    const bool planes = few && lanes == PLANES && scatter->index_row == 1 && scatter->dy_row == 1 &&
                        scatter->dx_pixel == 1 && scatter->dx_offset_row == 0 &&
                        scatter->dx_offset_lane != 0;
    const int64_t run = scatter->index_row == lanes ? all : lanes; /* indices without gaps */
    while (from < all) {
        int64_t until =
            planes ? from - from % PLANES + PLANES * SCATTER_CHUNK : from + SCATTER_CHUNK;
        if (!planes && until > from - from % run + run)
            until = from - from % run + run;
        if (until > all)
            until = all;
        if (planes && from % PLANES) {
            until = from - from % PLANES + PLANES;
        } else if (planes ? scatter_planes(scatter, from, until)
                          : together && scatter_together(scatter, from, until)) {
            from = until;
            continue;
        }
        from = scatter_rows(scatter, from, until);
        if (from < until)
            break;
    }
    return from;
}
