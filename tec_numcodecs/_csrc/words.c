#include "exact.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(TEC_WORDS_PORTABLE)
#include <immintrin.h>
#define TEC_WORDS_AVX2
#endif

enum { COLUMNS = TEC_WORD_COLUMNS, STEP = TEC_WORD_STEP, ROWS = 4, SHIFT = 15, CACHED = 1 << 16 };

/* Products of up to four rows with one panel: exact sums, whole numbers below 2^53. */
typedef void (*tile_function)(const int16_t *left, const int16_t *panel, size_t inner,
                              double sums[ROWS][COLUMNS]);

static inline void plain_tile(const int16_t *left, const int16_t *panel, size_t inner,
                              size_t rows, double sums[ROWS][COLUMNS])
{
    for (size_t row = 0; row < rows; row++) {
        int64_t sum[COLUMNS] = {0};
        for (size_t k = 0; k < inner; k += 2) {
            const int32_t first = left[row * inner + k], second = left[row * inner + k + 1];
            const int16_t *pairs = panel + k * COLUMNS;
            for (size_t i = 0; i < COLUMNS; i++)
                sum[i] += first * pairs[2 * i] + second * pairs[2 * i + 1];
        }
        for (size_t i = 0; i < COLUMNS; i++) sums[row][i] = (double)sum[i];
    }
}

#define PLAIN(n)                                                                                  \
    static void plain##n(const int16_t *left, const int16_t *panel, size_t inner,                 \
                         double sums[ROWS][COLUMNS])                                              \
    {                                                                                             \
        plain_tile(left, panel, inner, n, sums);                                                  \
    }
PLAIN(1)
PLAIN(2)
PLAIN(3)
PLAIN(4)
static const tile_function plain_tiles[ROWS] = {plain1, plain2, plain3, plain4};

#ifdef TEC_WORDS_AVX2

/* Both stay in registers here: compilers would rather read panels again and spill sums. */
#define KEEP(a, b) __asm__("" : "+x"(a), "+x"(b))

/* Two words, read as one. */
typedef int32_t word_pair __attribute__((may_alias, aligned(2)));

/* Eight products of 32639 * 8127 fit 31 bits, so a step's sum s is exact in 32. The sum of all s
 * is kept twice: modulo 2^32, and as the sum of floor(s / 2^15). The first less 2^15 times the
 * second is less than 2^15 a step, so that modulo 2^32 nothing is lost. */
__attribute__((target("avx2"), always_inline)) static inline void
wide_tile(const int16_t *left, const int16_t *panel, size_t inner, const size_t rows,
          double sums[ROWS][COLUMNS])
{
    __m256i whole[ROWS], upper[ROWS];
    for (size_t row = 0; row < rows; row++) whole[row] = upper[row] = _mm256_setzero_si256();
    for (size_t k = 0; k < inner; k += STEP, panel += STEP * COLUMNS) {
        const __m256i *pairs = (const __m256i *)panel;
        __m256i p0 = _mm256_loadu_si256(pairs), p1 = _mm256_loadu_si256(pairs + 1);
        __m256i p2 = _mm256_loadu_si256(pairs + 2), p3 = _mm256_loadu_si256(pairs + 3);
        KEEP(p0, p1);
        KEEP(p2, p3);
#pragma GCC unroll 4
        for (size_t row = 0; row < rows; row++) {
            const word_pair *pair = (const word_pair *)(left + row * inner + k);
            __m256i s = _mm256_madd_epi16(p0, _mm256_set1_epi32(pair[0]));
            s = _mm256_add_epi32(s, _mm256_madd_epi16(p1, _mm256_set1_epi32(pair[1])));
            s = _mm256_add_epi32(s, _mm256_madd_epi16(p2, _mm256_set1_epi32(pair[2])));
            s = _mm256_add_epi32(s, _mm256_madd_epi16(p3, _mm256_set1_epi32(pair[3])));
            whole[row] = _mm256_add_epi32(whole[row], s);
            upper[row] = _mm256_add_epi32(upper[row], _mm256_srai_epi32(s, SHIFT));
            KEEP(whole[row], upper[row]);
        }
    }
    for (size_t row = 0; row < rows; row++) {
        const __m256i rest =
            _mm256_sub_epi32(whole[row], _mm256_slli_epi32(upper[row], SHIFT)); /* >= 0 */
        int32_t high[COLUMNS], low[COLUMNS];
        _mm256_storeu_si256((__m256i *)high, upper[row]);
        _mm256_storeu_si256((__m256i *)low, rest);
        for (size_t i = 0; i < COLUMNS; i++)
            sums[row][i] = (double)high[i] * (1 << SHIFT) + (double)low[i];
    }
}

#define WIDE(n)                                                                                   \
    __attribute__((target("avx2"))) static void wide##n(                                          \
        const int16_t *left, const int16_t *panel, size_t inner, double sums[ROWS][COLUMNS])      \
    {                                                                                             \
        wide_tile(left, panel, inner, n, sums);                                                   \
    }
WIDE(1)
WIDE(2)
WIDE(3)
WIDE(4)
static const tile_function wide_tiles[ROWS] = {wide1, wide2, wide3, wide4};

#endif

static const tile_function *tiles(void)
{
#ifdef TEC_WORDS_AVX2
    if (__builtin_cpu_supports("avx2")) return wide_tiles;
#endif
    return plain_tiles;
}

/* One panel's columns of out for some rows. */
static void multiply(tec_words left, const int16_t *panel, const double *column,
                     const double *bias, double *out, size_t n, size_t width)
{
    const tile_function *choice = tiles();
    for (size_t row = 0; row < left.rows; row += ROWS) {
        const size_t rows = left.rows - row < ROWS ? left.rows - row : ROWS;
        double sums[ROWS][COLUMNS];
        choice[rows - 1](left.words + row * left.padded, panel, left.padded, sums);
        for (size_t r = 0; r < rows; r++) {
            double *target = out + (row + r) * n;
            const double factor = left.scale[row + r];
            for (size_t i = 0; i < width; i++)
                target[i] = sums[r][i] * factor * column[i] + bias[i];
        }
    }
}

void tec_exact_multiply(tec_words left, const int16_t *panels, const double *column,
                        const double *bias, double *out, size_t n, size_t first, size_t last)
{
    size_t together = CACHED / left.padded / ROWS * ROWS; /* rows that a cache holds */
    if (together < ROWS) together = ROWS;
    for (size_t row = 0; row < left.rows; row += together) {
        tec_words part = {left.words + row * left.padded, left.scale + row, left.rows - row,
                          left.padded};
        if (part.rows > together) part.rows = together;
        for (size_t panel = first; panel < last; panel++) {
            const size_t start = panel * COLUMNS;
            multiply(part, panels + start * left.padded, column + start, bias + start,
                     out + row * n + start, n, n - start < COLUMNS ? n - start : COLUMNS);
        }
    }
}
