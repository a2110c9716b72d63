/* winograd_plan.h: how a pass by Winograd's tiles is cut into blocks, panels and passes. */
#ifndef FC_WINOGRAD_PLAN_H
#define FC_WINOGRAD_PLAN_H

#include "winograd_tiles.h"

struct fc_winograd_plan {
    struct fc_channels channels;
    struct fc_winograd_form form;
    struct fc_winograd_cut cut;
    struct fc_winograd_kernel kernel;
    struct fc_winograd_source source;
    int64_t blocks, shares, share_panels, pass_panels;
    int64_t chunks, depth; /* all, and those that are taken to positions at once: all or one */
    int64_t spread;        /* channels of a piece that are so */
    int64_t kept;          /* panels whose sums wait for the next */
    /* Groups of a pass, in sets that an item computes: one, or, packed side by side, several. */
    bool packs;
    bool asks_x, asks_y; /* for what the next item reads, and for what a panel writes */
    int64_t pass_groups, sets, set_groups;
    bool fused; /* the kernel is transformed chunk by chunk where it is used */
    struct fc_winograd_layout layout;
    int64_t v_elements, pitch, m_position, m_panel; /* pitch: of M, from tile to tile */
    size_t x_bytes, v_bytes, m_bytes, u_bytes, strip_bytes, staging_bytes, worker_bytes;
    size_t pass_bytes, bad_bytes, shared_bytes; /* a pass's kernel, a mark a line, and both */
    int width;
};

/* `transformed`: the whole kernel is so already. The plan points into itself. False where a count of bytes
 * overflows. */
bool fc_winograd_make_plan(int form, const struct fc_convolution *convolution, bool transformed,
                           struct fc_winograd_plan *plan);

/* Item: a block of tiles, for a set of groups and a share of the panels of a pass. */
struct fc_winograd_item {
    struct fc_winograd_block block;
    int64_t group, end_group, panel, end_panel;
};

struct fc_winograd_item fc_winograd_item_at(const struct fc_winograd_plan *plan,
                                            const struct fc_winograd_item *pass, int64_t index);

#endif
