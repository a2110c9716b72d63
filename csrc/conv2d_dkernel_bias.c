/* conv2d_dkernel_bias.c: the gradient of the bias, added up beside that of the kernel.
 *
 * The rows of dy that a block has just ended are in the second-level cache, where a pass of its own over
 * 26 MB took a sixth of the time of 64 to 256 channels, a quarter of 32 to 64 and of stems. Whole rows of
 * planes are added as they have been packed, not turned again: 32 to 64 channels at 112x112 took 4.5 ms
 * for that. */
#include "conv2d_dkernel_sums.h"

/* Rows of dy must come to the parts as its sums want them: whole, in order, and those of a chunk of
 * theirs in one of ours. */
bool fc_dkernel_fits_bias(const struct fc_dkernel_plan *plan, const struct fc_channel_sums *bias,
                          const fc_image *y, bool depthwise)
{
    const fc_image *dy = &bias->image;
    const bool whole = plan->direct ? plan->blocks.column_blocks == 1 : !plan->channels.lanes;
    return (depthwise || whole) && plan->steps > 0 && dy->n == y->n && dy->h == y->h &&
           fc_chunks_fit_channel_sums(bias, plan->axis, &plan->blocks, plan->images, plan->steps,
                                      plan->chunks);
}

/* Of the parts, those that share no channel of dy add it. */
static bool adds(const struct fc_dkernel_part *part, bool packed)
{
    const struct fc_dkernel_plan *plan = part->job->plan;
    const bool packs_rows = !plan->dy_in_place && plan->blocks.column_blocks == 1;
    return part->job->bias && part->c == 0 && packs_rows == packed;
}

void fc_dkernel_add_bias(const struct fc_dkernel_part *part, int64_t n, int worker)
{
    const struct fc_dkernel_job *job = part->job;
    const struct fc_channels *channels = &job->plan->channels;
    const struct fc_patch *patch = &part->patch;
    if (!adds(part, false) || patch->column + patch->columns < job->bias->image.w)
        return;
    const int64_t k = part->panel * channels->panel;
    const int64_t count = fc_min(part->panels * channels->panel, channels->c_out - k);
    for (int64_t i = 0; i < part->images; i++)
        fc_add_rows(job->bias, (n + i) * job->bias->image.h + patch->row, patch->rows,
                    part->group * channels->c_out + k, count, worker);
}

void fc_dkernel_add_packed_bias(const struct fc_dkernel_part *part, int64_t n, int64_t p)
{
    const struct fc_dkernel_job *job = part->job;
    const struct fc_channels *channels = &job->plan->channels;
    if (!adds(part, true))
        return;
    const int64_t k = part->group * channels->c_out + p * channels->panel;
    const int64_t count = fc_panel_outputs(channels, p), pitch = fc_panel_width(channels, p);
    for (int64_t i = 0; i < part->images; i++)
        fc_add_packed_rows(job->bias, (n + i) * job->bias->image.h + part->patch.row,
                           part->patch.rows, k, count, part->dy + i * part->dy_image * job->element,
                           part->dy_row, pitch);
}
