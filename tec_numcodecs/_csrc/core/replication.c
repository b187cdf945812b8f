/* Bands that were brought to a finer grid by repeating samples: found exactly. */
#include <string.h>

#include "layout.h"

typedef struct {
    const int32_t *x;
    const uint8_t *invalid; /* or NULL */
    size_t h, w;
} band;

static inline int masked(band b, size_t at) { return b.invalid && b.invalid[at]; }

/* Whether two pixels may show one sample. */
static inline int alike(band b, size_t i, size_t j)
{
    return b.x[i] == b.x[j] || masked(b, i) || masked(b, j);
}

/* Whether neighbors are alike in all blocks of a factor and phase, along rows or columns. */
static int rows_fit(band b, size_t factor, size_t phase)
{
    for (size_t y = 0; y + 1 < b.h; y++) {
        if ((y + phase + 1) % factor == 0) continue; /* a block ends between these rows */
        for (size_t x = 0; x < b.w; x++)
            if (!alike(b, y * b.w + x, (y + 1) * b.w + x)) return 0;
    }
    return 1;
}

static int columns_fit(band b, size_t factor, size_t phase)
{
    for (size_t y = 0; y < b.h; y++)
        for (size_t x = 0; x + 1 < b.w; x++) {
            if ((x + phase + 1) % factor == 0) continue;
            if (!alike(b, y * b.w + x, y * b.w + x + 1)) return 0;
        }
    return 1;
}

/* Whether all valid pixels of every block are equal: neighbors are not enough where some are
 * masked. */
static int blocks_fit(band b, size_t factor, size_t row, size_t column)
{
    for (size_t top = 0; top < b.h + row; top += factor)
        for (size_t left = 0; left < b.w + column; left += factor) {
            int known = 0;
            int32_t value = 0;
            for (size_t y = top < row ? row : top; y < top + factor && y < b.h + row; y++)
                for (size_t x = left < column ? column : left;
                     x < left + factor && x < b.w + column; x++) {
                    const size_t at = (y - row) * b.w + x - column;
                    if (masked(b, at)) continue;
                    if (known && b.x[at] != value) return 0;
                    value = b.x[at];
                    known = 1;
                }
        }
    return 1;
}

/* Phases that fit, as bits; rows in .row, columns in .column. Two axes are independent, but for
 * masked pixels, which are checked together. */
typedef struct {
    uint8_t row, column;
} phases;

static phases phases_of(band b, size_t factor)
{
    phases found = {0, 0};
    for (size_t p = 0; p < factor; p++) found.row |= (uint8_t)(rows_fit(b, factor, p) << p);
    for (size_t p = 0; found.row && p < factor; p++)
        found.column |= (uint8_t)(columns_fit(b, factor, p) << p);
    if (!found.column) found.row = 0;
    return found;
}

static unsigned bits(unsigned x)
{
    unsigned count = 0;
    for (; x; x &= x - 1) count++;
    return count;
}

/* The phase of the most bands that have the class, the first if several are. */
static uint8_t commonest(const uint8_t *fits, size_t count, size_t factor)
{
    size_t best = 0, most = 0;
    for (size_t p = 0; p < factor; p++) {
        size_t votes = 0;
        /* Bands with a phase of their own decide before those that any would fit. */
        for (size_t i = 0; i < count; i++)
            if (fits[i] >> p & 1) votes += bits(fits[i]) == 1 ? 1000 : 1;
        if (votes > most) {
            most = votes;
            best = p;
        }
    }
    return (uint8_t)best;
}

void tec_find_replication(const int32_t *samples, const uint8_t *invalid, size_t bands,
                          size_t height, size_t width, tec_replication *out)
{
    static const int ORDER[3] = {3, 2, 1}; /* classes by falling factor */
    const size_t plane = height * width;
    memset(out, 0, sizeof *out);
    for (int i = 0; i < 3; i++) {
        const int kind = ORDER[i];
        const size_t factor = TEC_FACTOR[kind];
        uint8_t rows[TEC_MOST_BANDS] = {0}, columns[TEC_MOST_BANDS] = {0}, which[TEC_MOST_BANDS];
        size_t count = 0;
        for (size_t k = 0; k < bands; k++) {
            const band b = {samples + k * plane, invalid ? invalid + k * plane : NULL, height,
                            width};
            if (out->kind[k]) continue;
            const phases fit = phases_of(b, factor);
            if (!fit.row) continue;
            rows[count] = fit.row;
            columns[count] = fit.column;
            which[count++] = (uint8_t)k;
        }
        if (!count) continue;
        out->row[kind] = commonest(rows, count, factor);
        out->column[kind] = commonest(columns, count, factor);
        for (size_t j = 0; j < count; j++) {
            const band b = {samples + which[j] * plane, invalid ? invalid + which[j] * plane : NULL,
                            height, width};
            const int fits = rows[j] >> out->row[kind] & columns[j] >> out->column[kind] & 1;
            if (fits && (!invalid || blocks_fit(b, factor, out->row[kind], out->column[kind])))
                out->kind[which[j]] = (uint8_t)kind;
        }
    }
}
