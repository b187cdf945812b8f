#include <stdlib.h>
#include <string.h>

#include "rans.h"

/* As many buckets as intervals, rounded up to a power of two: a uniformly drawn slot then walks
 * half an interval on average, whatever the shape of the row. */
static unsigned bucket_bits(size_t intervals)
{
    unsigned bits = 4;
    while (((size_t)1 << bits) < intervals) bits++;
    return bits;
}

/* Fills row records and returns the total number of buckets; 0 rows is a valid table. */
static tec_rans_status lay_out(tec_rans_tables *t, const uint16_t *cdf, const int64_t *starts,
                               const int32_t *minimum, size_t entries, size_t *buckets)
{
    if (starts[0] != 0 || starts[t->rows] != (int64_t)entries) return TEC_RANS_BAD_TABLES;
    *buckets = 0;
    for (size_t r = 0; r < t->rows; r++) {
        int64_t from = starts[r], size;
        if (from < 0 || from > (int64_t)entries) return TEC_RANS_BAD_TABLES;
        if (starts[r + 1] < from || starts[r + 1] > (int64_t)entries) return TEC_RANS_BAD_TABLES;
        size = starts[r + 1] - from;
        if (size < 2 || size > 65536 || cdf[from] != 0) return TEC_RANS_BAD_TABLES;
        if ((int64_t)minimum[r] + size - 2 > INT32_MAX) return TEC_RANS_BAD_TABLES;
        for (int64_t i = from + 1; i < from + size; i++)
            if (cdf[i] <= cdf[i - 1]) return TEC_RANS_BAD_TABLES;
        unsigned bits = bucket_bits((size_t)size);
        t->row[r] = (tec_rans_row){(uint32_t)from, (uint32_t)*buckets, minimum[r],
                                   (uint16_t)(size - 1), (uint16_t)(16 - bits)};
        *buckets += (size_t)1 << bits;
        if (*buckets > UINT32_MAX) return TEC_RANS_BAD_TABLES;
    }
    return TEC_RANS_OK;
}

static void fill_buckets(tec_rans_tables *t)
{
    for (size_t r = 0; r < t->rows; r++) {
        const tec_rans_row *row = &t->row[r];
        const uint16_t *cdf = t->cdf + row->cdf;
        uint32_t interval = 0;
        for (uint32_t slot = 0; slot < 65536; slot += (uint32_t)1 << row->shift) {
            while (interval < row->last && cdf[interval + 1] <= slot) interval++;
            t->lut[row->lut + (slot >> row->shift)] = (uint16_t)interval;
        }
    }
}

tec_rans_status tec_rans_tables_new(const uint16_t *cdf, const int64_t *starts,
                                    const int32_t *minimum, size_t entries, size_t rows,
                                    tec_rans_tables **out)
{
    size_t buckets;
    tec_rans_status status = TEC_RANS_NO_MEMORY;
    *out = NULL;
    if (rows > TEC_RANS_UNIFORM || entries > INT32_MAX) return TEC_RANS_BAD_TABLES;
    tec_rans_tables *t = calloc(1, sizeof *t);
    if (!t) return status;
    t->rows = rows;
    t->row = calloc(rows + 1, sizeof *t->row);
    t->cdf = calloc(entries + 1, sizeof *t->cdf);
    if (!t->row || !t->cdf) goto fail;
    if (entries) memcpy(t->cdf, cdf, entries * sizeof *t->cdf);
    status = lay_out(t, t->cdf, starts, minimum, entries, &buckets);
    if (status) goto fail;
    t->lut = calloc(buckets + 1, sizeof *t->lut);
    status = TEC_RANS_NO_MEMORY;
    if (!t->lut) goto fail;
    fill_buckets(t);
    *out = t;
    return TEC_RANS_OK;
fail:
    tec_rans_tables_free(t);
    return status;
}

void tec_rans_tables_free(tec_rans_tables *t)
{
    if (!t) return;
    free(t->row);
    free(t->cdf);
    free(t->lut);
    free(t);
}
