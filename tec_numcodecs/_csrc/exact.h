/* Row by row operations of exact networks. Pure C, no Python.h.
 *
 * The torch twins in tec_numcodecs/models/terracodec/exact/rowwise.py are the specification; both give the same bits.
 * Every operation on doubles is one correctly rounded IEEE operation; every sum is one of whole
 * numbers below 2^53. The compiler must not contract a*b+c (setup.py says so) nor reorder.
 */
#ifndef TEC_EXACT_H
#define TEC_EXACT_H

#include <stddef.h>
#include <stdint.h>

/* A table of whole numbers with the differences to the next entry. */
typedef struct {
    const double *value, *slope;
} tec_table;

/* Rows x (rows, n) to whole numbers of at most `limit` in magnitude times a power of two each. */
void tec_exact_quantise(const double *x, double *out, double *scale, size_t rows, size_t n,
                        int32_t limit);

/* Patches of an image in channels-last order, one row of a matrix each, row-major. A patch is
 * `segments` pieces of `length` numbers, `pitch` apart; the next one to the right begins `step`
 * later, the next one below `pitch` later. Rows of a matrix are patches
 * of one piece each, too. */
typedef struct {
    const double *x;
    size_t height, width, pitch, step, segments, length;
} tec_patches;

/* Patches to whole numbers of at most 32639 times a power of two each, as signed bytes of radix
 * 256: high and low (patches, segments * length). check (patches) is the product with `total`
 * (segments * length), whole numbers. */
void tec_exact_split(tec_patches patches, const double *total, int8_t *high, int8_t *low,
                     double *scale, double *check);

/* Joins the products of bytes: sums of the high rows, high_sums (rows, 2 n), and of the low rows,
 * low_sums (rows, 2 n), columns being high bytes, then low bytes of radix 128, to
 * out (rows, n) = sum * scale[row] * column[n] + bias[n].
 * Returns 0, or -1 if a row's sum is not its check: some byte product was not exact. */
int tec_exact_join(const int32_t *high_sums, const int32_t *low_sums, const double *scale,
                   const double *check, const double *column, const double *bias, double *out,
                   size_t rows, size_t n);

/* The same whole numbers as 16-bit words (patches, padded), zeros after the first
 * segments * length; padded is a multiple of TEC_WORD_STEP. */
void tec_exact_split_words(tec_patches patches, int16_t *words, double *scale, size_t padded);

/* Columns of a panel, and the steps in which rows are multiplied. */
enum { TEC_WORD_COLUMNS = 8, TEC_WORD_STEP = 8 };

/* What tec_exact_split_words fills. padded is at most TEC_WORD_MOST. */
typedef struct {
    const int16_t *words;
    const double *scale;
    size_t rows, padded;
} tec_words;
enum { TEC_WORD_MOST = 1 << 17 };

/* out (rows, n) = sum * scale[row] * column[n] + bias[n], the sum of products being exact, for the
 * panels first to last of the right operand: whole numbers of at most 8127 in magnitude, eight of
 * its n rows a panel, as (padded / 2, 8, 2) with zeros where it ends. */
void tec_exact_multiply(tec_words left, const int16_t *panels, const double *column,
                        const double *bias, double *out, size_t n, size_t first, size_t last);

/* In place: x = max(x, 0) - dip(|x|), the table holding 2^30 dip on a grid of 2^-9. */
void tec_exact_gelu(double *x, size_t count, tec_table dip);

/* Layer norm of rows (rows, n). */
void tec_exact_norm(const double *x, const double *weight, const double *bias, double *out,
                    size_t rows, size_t n, double epsilon);

/* What attention does between its two products, in place. scores (groups, rows, n) are whole
 * numbers; the queries have scales query (groups, rows), keys and values scales key, value
 * (groups, n); hidden (rows, n) is 1 where a key must not be seen, or NULL. Afterwards scores are
 * whole numbers of at most 32639 and query their rows' scales. */
void tec_exact_attend(double *scores, double *query, const double *key, const double *value,
                      const uint8_t *hidden, size_t groups, size_t rows, size_t n, double factor,
                      tec_table power);

#endif
