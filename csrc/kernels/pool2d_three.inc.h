/* pool2d_three.inc.h: which of three wins, for windows of 3 x 3 as three rows of three columns.
 *
 * Of values that are no NaN the greatest is found by the instruction for it, and comparisons tell beside that
 * chain who it was, where a selection that waits for each comparison takes 6 cycles. Two masks tell three from each
 * other, and a gradient is parted by rows and then by columns: 4 selections each, where nine numbers are nine
 * comparisons. A row's three columns serve all windows that share the row. NaNs are only looked for: where there is
 * one, another pass does it all again. Masks are told late, since there are 7 of them: gcc moves others to memory. */
struct three {
    vreal at[3], two, best; /* the best of the first two, and of all */
};

/* Where the first of them, or the third, is the first that has the best. */
struct three_won {
    vmask first, third;
};

/* The first may be a NaN that stands for none: then it loses. */
FC_INLINE struct three three_of(vreal a, vreal b, vreal c, fc_pooling pooling)
{
    struct three three = {.at = {a, b, c}};
    three.two = pooling == FC_MAX ? vgreater_of(a, b) : vlesser_of(a, b);
    three.best = pooling == FC_MAX ? vgreater_of(c, three.two) : vlesser_of(c, three.two);
    return three;
}

FC_INLINE struct three_won three_won(const struct three *three, fc_pooling pooling)
{
    const vreal *at = three->at;
    struct three_won won;
    if (pooling == FC_MAX) {
        won.first = vat_least(at[0], at[1]);
        won.third = vgreater(at[2], three->two);
    } else {
        won.first = vat_least(at[1], at[0]);
        won.third = vgreater(three->two, at[2]);
    }
    return won;
}

/* What each of them gets: the gradient, or zero. */
FC_INLINE void three_part(struct three_won won, vreal gradient, vreal to[3])
{
    const vreal rest = vdrop(won.third, gradient);
    to[0] = vkeep(won.first, rest);
    to[1] = vdrop(won.first, rest);
    to[2] = vkeep(won.third, gradient);
}
