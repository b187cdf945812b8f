#include "context.h"
#include "simd.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(TEC_CONTEXT_PORTABLE)
#include <immintrin.h>
#define TEC_CONTEXT_AVX2
#endif

enum { COLUMNS = TEC_LAYER_COLUMNS, MOST = TEC_LAYER_MOST, ROWS = 4 };

/* Exact sums of products of some rows with one panel. Callers see to it that none exceeds 2^24. */
typedef void (*tile_function)(const int16_t *rows, size_t pitch, const int16_t *panel,
                              size_t inputs, int32_t sums[ROWS][COLUMNS]);

static void plain_tile(const int16_t *rows, size_t pitch, const int16_t *panel, size_t inputs,
                       int32_t sums[ROWS][COLUMNS])
{
    for (size_t row = 0; row < ROWS; row++) {
        int32_t sum[COLUMNS] = {0};
        for (size_t k = 0; k < inputs; k += 2) {
            const int32_t first = rows[row * pitch + k], second = rows[row * pitch + k + 1];
            const int16_t *pairs = panel + k * COLUMNS;
            for (size_t i = 0; i < COLUMNS; i++)
                sum[i] += first * pairs[2 * i] + second * pairs[2 * i + 1];
        }
        for (size_t i = 0; i < COLUMNS; i++) sums[row][i] = sum[i];
    }
}

#ifdef TEC_CONTEXT_AVX2
/* Two words, read as one. */
typedef int32_t word_pair __attribute__((may_alias, aligned(2)));

__attribute__((target("avx2"))) static void wide_tile(const int16_t *rows, size_t pitch,
                                                      const int16_t *panel, size_t inputs,
                                                      int32_t sums[ROWS][COLUMNS])
{
    __m256i left[ROWS], right[ROWS];
    for (size_t row = 0; row < ROWS; row++) left[row] = right[row] = _mm256_setzero_si256();
    for (size_t k = 0; k < inputs; k += 2) {
        const __m256i *pairs = (const __m256i *)(panel + k * COLUMNS);
        const __m256i p = _mm256_loadu_si256(pairs), q = _mm256_loadu_si256(pairs + 1);
#pragma GCC unroll 4
        for (size_t row = 0; row < ROWS; row++) {
            const __m256i x = _mm256_set1_epi32(*(const word_pair *)(rows + row * pitch + k));
            left[row] = _mm256_add_epi32(left[row], _mm256_madd_epi16(p, x));
            right[row] = _mm256_add_epi32(right[row], _mm256_madd_epi16(q, x));
        }
    }
    for (size_t row = 0; row < ROWS; row++) {
        _mm256_storeu_si256((__m256i *)sums[row], left[row]);
        _mm256_storeu_si256((__m256i *)(sums[row] + 8), right[row]);
    }
}
#endif

static tile_function tile(void)
{
#ifdef TEC_CONTEXT_AVX2
    if (__builtin_cpu_supports("avx2")) return wide_tile;
#endif
    return plain_tile;
}

static size_t even(size_t inputs) { return inputs + inputs % 2; }

/* floor(x / 16 + 1/2), clipped to a byte, of COLUMNS sums each times scale plus bias. */
TEC_MULTIVERSION
static void activate(const int32_t *restrict sums, const float *restrict scale,
                     const float *restrict bias, int16_t *restrict out)
{
    for (size_t i = 0; i < COLUMNS; i++) {
        const float x = ((float)sums[i] * scale[i] + bias[i]) * 0.0625f + 0.5f;
        const float positive = x > 0 ? x : 0;
        out[i] = (int16_t)(int32_t)(positive < 255 ? positive : 255);
    }
}

/* A hidden layer: ROWS rows of activations, pitch MOST, zeros where outputs are rounded up. */
static void hidden_layer(tec_layer layer, tile_function multiply, const int16_t *rows,
                         size_t pitch, int16_t *out)
{
    for (size_t first = 0; first < layer.outputs; first += COLUMNS) {
        int32_t sums[ROWS][COLUMNS];
        multiply(rows, pitch, layer.weights + first * even(layer.inputs), even(layer.inputs), sums);
        for (size_t row = 0; row < ROWS; row++)
            activate(sums[row], layer.scale + first, layer.bias + first, out + row * MOST + first);
    }
}

static void last_layer(tec_layer layer, tile_function multiply, const int16_t *rows, size_t count,
                       float *out)
{
    for (size_t first = 0; first < layer.outputs; first += COLUMNS) {
        const size_t left = layer.outputs - first, width = left < COLUMNS ? left : COLUMNS;
        int32_t sums[ROWS][COLUMNS];
        multiply(rows, MOST, layer.weights + first * even(layer.inputs), even(layer.inputs), sums);
        for (size_t row = 0; row < count; row++)
            for (size_t i = first; i < first + width; i++)
                out[row * layer.outputs + i] =
                    (float)sums[row][i - first] * layer.scale[i] + layer.bias[i];
    }
}

void tec_context_network(const tec_layer layers[3], const int16_t *features, size_t count,
                         float *out)
{
    const tile_function multiply = tile();
    const size_t inputs = layers[0].inputs;
    int16_t rows[ROWS][MOST] = {{0}}, first[ROWS][MOST], second[ROWS][MOST];
    for (size_t row = 0; row < count; row += ROWS) {
        const size_t some = count - row < ROWS ? count - row : ROWS;
        for (size_t r = 0; r < some; r++)
            for (size_t i = 0; i < inputs; i++) rows[r][i] = features[(row + r) * inputs + i];
        hidden_layer(layers[0], multiply, rows[0], MOST, first[0]);
        hidden_layer(layers[1], multiply, first[0], MOST, second[0]);
        last_layer(layers[2], multiply, second[0], some, out + row * layers[2].outputs);
    }
}
