/* convolve_terms.c: where the terms of a stretch of channels lie, and the chains that they make. */
#include "convolve_tiles.h"

static void end_chain(struct fc_terms *terms, int64_t length)
{
    terms->chains[terms->chain_count++] = (struct fc_chain){terms->count, length};
}

/* Lines are fetched at the start of each run, and more than so many at once hold up what the tile itself
 * loads. But a run takes some 20 cycles more than its terms: with 16 each, tiles of 1024 terms reach 88 %
 * of the peak, not 95. */
enum { FETCH_LINES = 8 };

/* One tap, channels together: runs follow each other, so that something is fetched at each. The
 * channels of a last slab that is not full are a chain of their own, as where x is packed. */
static void list_together(const struct fc_convolve_item *item, const struct fc_source *source,
                          struct fc_terms *terms)
{
    const struct fc_channels *all = &item->job->plan->channels;
    const int64_t whole = item->channels - item->channels % all->slab;
    for (int64_t c = 0; c < item->channels;) {
        const int64_t end = c < whole ? fc_min(c + all->block, whole) : item->channels;
        int64_t length = end - c;
        while (item->x_ahead.each * length > FETCH_LINES * item->channels && length > all->slab &&
               length % 2 == 0)
            length /= 2;
        for (; c < end; c += length, terms->count++) {
            terms->offset[terms->count] = c / item->slab * source->slab + c % item->slab;
            terms->kernel_offset[terms->count] = c * item->tile.kernel_step;
        }
        end_chain(terms, length);
    }
}

bool fc_rows_are_runs(const struct fc_convolve_item *item, const struct fc_source *source)
{
    return !item->job->plan->channels.lanes && source->tap == item->slab;
}

/* A run for each row of taps of each slab, or, where taps lie apart, for each tap. */
static void list_slabs(const struct fc_convolve_item *item, const struct fc_source *source,
                       const struct fc_taps *taps, struct fc_terms *terms)
{
    const struct fc_channels *all = &item->job->plan->channels;
    const struct fc_axis *axis = item->job->convolution->axis;
    const bool merged = fc_rows_are_runs(item, source);
    const int64_t slab = item->slab, slabs = fc_ceil_div(item->channels, slab);
    const int64_t left = taps->axis[1].begin;
    const int64_t right = merged ? fc_min(left + 1, taps->axis[1].end) : taps->axis[1].end;
    const int64_t length = (merged ? taps->axis[1].end - left : 1) * slab;
    const int64_t together = fc_max(all->block / slab, 1);
    for (int64_t s = 0; s < slabs; s++) {
        for (int64_t i = taps->axis[0].begin; i < taps->axis[0].end; i++)
            for (int64_t j = left; j < right; j++, terms->count++) {
                terms->offset[terms->count] = s * source->slab + i * source->row + j * source->tap;
                terms->kernel_offset[terms->count] =
                    (s * all->taps + i * axis[1].taps + j) * slab * item->tile.kernel_step;
            }
        if ((s + 1) % together == 0 || s + 1 == slabs)
            end_chain(terms, length);
    }
}

void fc_list_terms(const struct fc_convolve_item *item, const struct fc_source *source,
                   const struct fc_taps *taps, struct fc_terms *terms)
{
    const struct fc_channels *channels = &item->job->plan->channels;
    terms->count = terms->chain_count = 0;
    if (channels->taps != 1 || channels->lanes)
        list_slabs(item, source, taps, terms);
    else if (taps->axis[0].begin < taps->axis[0].end)
        list_together(item, source, terms);
    if (terms->count == 0) { /* no channels, or no taps */
        terms->chain_count = 0;
        end_chain(terms, 0);
    }
}
