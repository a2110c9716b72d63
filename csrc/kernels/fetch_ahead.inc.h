/* fetch_ahead.inc.h: lines that are read soon come to the second-level cache. */

/* Returns what follows. */
FC_INLINE const char *fetch_ahead(const char *data, int64_t lines)
{
    for (; lines > 0; lines--, data += FC_UNIT_BYTES)
        __builtin_prefetch(data, 0, 2);
    return data;
}
