#include <math.h>

#include "rotation_weights.h"
#include "spectrum.h"

/* ---- tables ------------------------------------------------------------------------------- */

const tec_rotation_weights tec_rotations_weights = {
    .count = {121, 31, 36, 36, 34, 34, 30, 24, 22, 18, 16, 13, 12, 11, 10, 9, 9, 8, 8, 7, 7, 6,
              6,   5,  5,  5,  4,  4,  4,  3,  3,  3,  3,  3,  2,  2,  2,  2, 2, 2, 2, 2, 2, 2,
              2,   1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1, 1, 1, 1, 11},
    .q = {630, 811, 837, 760, 743, 526, 500, 471, 419, 361, 263, 60},
    .p = {2139, 1489, 1074, 551, 430, 241, 164, 96, 86, 37, 14, 6},
    .angle = {4, 110, 547, 1004, 1442, 1384, 1090, 523, 185, 27, 6, 3},
};

enum { ROWS = TEC_ROW_P + TEC_BANDS, ENTRIES = 1024, SCALE = 65536 };

typedef struct {
    uint16_t cdf[ENTRIES];
    int64_t starts[ROWS + 1];
    int32_t minimum[ROWS];
    size_t rows, entries;
} builder;

/* Adds a row of some weights and the escape. */
static void add_row(builder *b, const uint16_t *weights, size_t count, int32_t minimum)
{
    const uint32_t room = SCALE - (uint32_t)(count + 1);
    uint32_t sum = 0, start = 0, missing = room;
    size_t largest = 0;
    for (size_t i = 0; i < count; i++) {
        sum += weights[i];
        if (weights[i] > weights[largest]) largest = i;
    }
    for (size_t i = 0; i < count; i++) missing -= weights[i] * room / sum;
    for (size_t i = 0; i < count; i++) {
        b->cdf[b->entries++] = (uint16_t)start;
        start += 1 + weights[i] * room / sum + (i == largest ? missing : 0);
    }
    b->cdf[b->entries++] = (uint16_t)start;
    b->minimum[b->rows++] = minimum;
    b->starts[b->rows] = (int64_t)b->entries;
}

/* Rows of less than two bands are never used, but row numbers count them. */
static size_t at_least_one(size_t count, size_t most)
{
    return !count ? 1 : count < most ? count : most;
}

tec_rans_status tec_rotations_tables(tec_rans_tables **out)
{
    const tec_rotation_weights *w = &tec_rotations_weights;
    builder b = {.rows = 0};
    add_row(&b, w->count, TEC_ROTATIONS + 1, 0);
    add_row(&b, w->angle, TEC_ANGLES, 1);
    for (size_t n = 0; n < TEC_ROW_P - TEC_ROW_Q; n++)
        add_row(&b, w->q, at_least_one(n ? n - 1 : 0, TEC_BANDS - 1), 1);
    for (size_t q = 0; q < TEC_BANDS; q++) add_row(&b, w->p, at_least_one(q, TEC_BANDS - 1), 0);
    return tec_rans_tables_new(b.cdf, b.starts, b.minimum, b.entries, b.rows, out);
}

/* ---- lists -------------------------------------------------------------------------------- */

/* One symbol, which must be at least `least` and below `end`: escapes never are. */
static tec_rans_status pull(tec_rans_decoder *d, const tec_rans_tables *t, int32_t row,
                            int32_t least, int32_t end, int32_t *out)
{
    size_t where;
    const tec_rans_status status = tec_rans_pull(d, t, &row, out, 1, &where);
    if (status) return status;
    return *out >= least && *out < end ? TEC_RANS_OK : TEC_RANS_CORRUPT;
}

static tec_rans_status pull_rotation(tec_rans_decoder *d, const tec_rans_tables *t, int32_t n,
                                     tec_rotation *out)
{
    int32_t q, p, j, negative;
    tec_rans_status status;
    if ((status = pull(d, t, TEC_ROW_Q + n, 1, n, &q))) return status;
    if ((status = pull(d, t, TEC_ROW_P + q, 0, q, &p))) return status;
    if ((status = pull(d, t, TEC_ROW_ANGLE, 1, TEC_ANGLES + 1, &j))) return status;
    if ((status = pull(d, t, TEC_RANS_UNIFORM + 1, 0, 2, &negative))) return status;
    *out = (tec_rotation){(uint8_t)q, (uint8_t)p, (uint8_t)j, (int8_t)(negative ? -1 : 1)};
    return TEC_RANS_OK;
}

tec_rans_status tec_rotations_read(tec_rans_decoder *d, const tec_rans_tables *t, size_t n,
                                   tec_rotations *out)
{
    int32_t count = 0;
    out->count = 0;
    if (n < 2) return TEC_RANS_OK;
    tec_rans_status status = pull(d, t, TEC_ROW_COUNT, 0, TEC_ROTATIONS + 1, &count);
    while (!status && out->count < (size_t)count) {
        status = pull_rotation(d, t, (int32_t)n, &out->list[out->count]);
        out->count += !status;
    }
    return status;
}

static int fits(const tec_rotation *r, size_t n)
{
    return r->q < n && r->p < r->q && r->j >= 1 && r->j <= TEC_ANGLES &&
           (r->sign == 1 || r->sign == -1);
}

tec_rans_status tec_rotations_write(tec_rans_encoder *e, const tec_rans_tables *t, size_t n,
                                    const tec_rotations *list)
{
    int32_t symbols[1 + 4 * TEC_ROTATIONS], rows[1 + 4 * TEC_ROTATIONS];
    size_t count = 0, where;
    if (list->count > TEC_ROTATIONS || (n < 2 && list->count)) return TEC_RANS_BAD_SYMBOL;
    if (n < 2) return TEC_RANS_OK;
    rows[count] = TEC_ROW_COUNT;
    symbols[count++] = (int32_t)list->count;
    for (size_t i = 0; i < list->count; i++) {
        const tec_rotation *r = &list->list[i];
        if (!fits(r, n)) return TEC_RANS_BAD_SYMBOL;
        const int32_t row[4] = {TEC_ROW_Q + (int32_t)n, TEC_ROW_P + r->q, TEC_ROW_ANGLE,
                                TEC_RANS_UNIFORM + 1};
        const int32_t symbol[4] = {r->q, r->p, r->j, r->sign < 0};
        for (int k = 0; k < 4; k++, count++) {
            rows[count] = row[k];
            symbols[count] = symbol[k];
        }
    }
    return tec_rans_push(e, t, symbols, rows, count, &where);
}

/* ---- turning ------------------------------------------------------------------------------ */

void tec_spectrum_turn(double *rows, size_t n, const tec_rotations *list)
{
    for (size_t i = 0; i < list->count; i++) {
        const tec_rotation r = list->list[i];
        const double t = ldexp(1, -r.j);
        const double c = (1 - t * t) / (1 + t * t), d = r.sign * (2 * t / (1 + t * t));
        double *first = rows + r.p * n, *second = rows + r.q * n;
        for (size_t b = 0; b < n; b++) {
            const double x = first[b], y = second[b];
            first[b] = c * x - d * y;
            second[b] = d * x + c * y;
        }
    }
}
