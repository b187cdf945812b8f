/* What the context models do for every coefficient: features, networks, table rows. Pure C.
 *
 * The NumPy twins in tec_numcodecs/models/mini/{places,features,perceptron,mixture_rows,detail,
 * refining,symbols}.py are the specification; both give the same integers. Planes have a border of one, so
 * that neighbours are a constant offset away. Functions that return int return 0, or -1 if an
 * index lies outside.
 */
#ifndef TEC_CONTEXT_H
#define TEC_CONTEXT_H

#include <stddef.h>
#include <stdint.h>

/* Features by magnitude; larger magnitudes have the last one. */
typedef struct {
    const int16_t *value;
    size_t count;
} tec_companding;

/* Planes (n, height, width) with their border; NULL where there is none. */
typedef struct {
    const int32_t *const *planes;
    size_t count; /* numbers in a plane */
    size_t width; /* of a row */
} tec_planes;

/* Coefficients of a plane that are coded, phase by phase: even and even rows and columns, odd and
 * odd, even and odd, odd and even. */
typedef struct {
    const int64_t *own;    /* place in the plane with its border */
    const int64_t *parent; /* place of the coefficient above, in the coarser plane with its border */
    const int64_t *block;  /* place of the block among the flags with their border */
    size_t ends[4];        /* of the phases */
} tec_places;

/* Writes flat places, and those of tec_places, of the coded blocks of 8 x 8 of planes
 * (n, height, width); every array holds 64 for each coded block. */
void tec_context_places(const uint8_t *flags, size_t n, size_t height, size_t width, int64_t *flat,
                        int64_t *own, int64_t *parent, int64_t *block, size_t ends[4]);

/* What is known before a plane, of component k and orientation o: */
enum {
    TEC_HERE_EARLIER = 0, /* magnitudes of k, orientations 0 and 1, where they come before o */
    TEC_HERE_BEFORE = 2,  /* magnitudes and coefficients of k - 1, then of k - 2 */
    TEC_HERE_THIRD = 6,   /* coefficients of k - 3 */
    TEC_HERE_SUMS = 7,    /* magnitudes summed over all components before, three orientations */
    TEC_HERE_LOW = 10,    /* the image under the level, in eighths of a step */
    TEC_HERE = 11
};
/* and in the next coarser level: magnitudes, coefficients, magnitudes summed over components, and
 * over orientations, too; */
enum { TEC_ABOVE = 4 };
/* and of another date, or the pass before: coefficients in eighths of a step; the difference to its
 * image or, of a pass, magnitudes of all components; of a pass, four coefficients of the finer
 * level, or nothing. */
enum { TEC_OLD = 3 };

typedef struct {
    tec_companding integers, eighths, scales;
    tec_planes here, above, old; /* planes of above and of old are NULL where there are none */
    const int32_t *scale;        /* expected magnitudes */
    const uint8_t *flags;        /* of blocks, with a border */
    size_t flag_count, flag_width;
    int shift; /* of the plane, in quarter-octaves */
    int pass;  /* old is the pass before */
} tec_surroundings;

enum { TEC_PLANE_FEATURES = 46, TEC_REFERENCE_FEATURES = 7, TEC_OWN_FEATURES = 5 };

/* Features out (places, stride), the first TEC_PLANE_FEATURES, and those of a reference. */
int tec_context_plane(const tec_surroundings *around, const tec_places *places, int16_t *out,
                      size_t stride);
/* TEC_OWN_FEATURES of a plane as far as it is coded, out (count, stride). */
int tec_context_own(tec_companding integers, const int32_t *q, const int32_t *magnitude,
                    size_t numbers, size_t width, const int64_t *own, size_t count, int16_t *out,
                    size_t stride);

/* A layer: weights (inputs rounded up to 2, outputs rounded up to 16), 16 outputs a panel, inputs in
 * pairs side by side; sums are multiplied by scale and get a bias, both rounded up to 16, too. */
enum { TEC_LAYER_COLUMNS = 16, TEC_LAYER_MOST = 256 };
typedef struct {
    const int16_t *weights;
    const float *scale, *bias;
    size_t inputs, outputs;
} tec_layer;

/* Three layers: features (count, layers[0].inputs) to out (count, layers[2].outputs) in units of
 * 1/512. No layer has more than TEC_LAYER_MOST inputs or outputs. */
void tec_context_network(const tec_layer layers[3], const int16_t *features, size_t count,
                         float *out);

/* A network's outputs (count, outputs) to means in sixteenths of a step, scales in eighths of an
 * octave and shapes, (count) each, given the features (count, stride). old: a reference's
 * coefficients (numbers), of which those at own are meant, or NULL; without it outputs may be 3. */
int tec_context_shapes(const float *out, size_t outputs, const int16_t *features, size_t stride,
                       const int32_t *old, size_t numbers, const int64_t *own, size_t count,
                       float *mean, float *scale, float *shape);

/* Rows, bases and raw bits of mixtures; packed: by scale from `least` to `most`. */
void tec_context_choose(const float *mean, const float *scale, const float *shape, size_t count,
                        const int32_t *packed, int least, int most, int32_t *row, int32_t *base,
                        int32_t *raw);

/* Integers to coefficients at the centroids of their intervals. offsets (rows, 7) in 64ths of a
 * step, which is in 1/16; with raw bits it is `half`, with the sign of the integer. Returns the
 * largest magnitude, or -1 if a row has no offsets. */
int64_t tec_context_rescale(const int32_t *q, const int32_t *row, const int32_t *base,
                            const int32_t *raw, size_t count, const int8_t *offsets, size_t rows,
                            int64_t half, int64_t step, int32_t *out);

/* First rows of a later pass: of integers that were zero before, then of three magnitudes. */
typedef struct {
    int32_t zeros, digits;
} tec_pass;

/* Rows of coefficients that were `before` (count) in the pass before; see tec_context_choose. */
void tec_pass_rows(tec_pass pass, const int32_t *before, size_t count, const float *mean,
                   const float *scale, const float *shape, const int32_t *packed, int least,
                   int most, int32_t *row);
/* Symbols to integers; -1 if one is no binary digit. */
int tec_pass_refine(const int32_t *before, const int32_t *symbol, size_t count, int32_t *q);
/* Integers to coefficients: offsets of_zeros (rows, 3) and of_digits (digit_rows, 2). Returns the
 * largest magnitude, or -1 if a row has no offsets. */
int64_t tec_pass_rescale(tec_pass pass, const int32_t *q, const int32_t *row, size_t count,
                         const int8_t *of_zeros, size_t rows, const int8_t *of_digits,
                         size_t digit_rows, int64_t step, int32_t *out);

/* What symbols cost in bits. bits: of every interval of tables whose rows begin at starts
 * (rows + 1) and whose first symbols are minimum (rows). */
typedef struct {
    const int64_t *starts;
    const int32_t *minimum;
    const float *bits;
    size_t rows;
} tec_prices;

/* Bits of symbols (count), those of escapes estimated. */
int tec_price_symbols(tec_prices prices, const int32_t *symbol, const int32_t *row, size_t count,
                      float *out);
/* Of the nearest integer to value * unit, the next one towards zero and zero the one with the least
 * squared error plus bits times lagrangian. offsets (rows, 7): see tec_context_rescale. */
int tec_price_decide(tec_prices prices, const int8_t *offsets, size_t rows, const int32_t *value,
                     double unit, double lagrangian, const int32_t *row, const int32_t *base,
                     const int32_t *raw, size_t count, int32_t *q);

#endif
