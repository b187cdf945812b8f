/* Weights as the core uses them, and the spectra of a set of bands. */
#ifndef TEC_MODEL_H
#define TEC_MODEL_H

#include <stdatomic.h>

#include "../context.h"
#include "../rans.h"
#include "layout.h"
#include "spectrum.h"
#include "spectrum_cost.h"
#include "tec.h"

enum {
    TEC_OCTAVES = 14,
    TEC_COMPONENTS = 12,
    TEC_FEATURES = 12,
    TEC_SCALE_BINS = 65,
    TEC_FLAG_BINS = 50,
    TEC_SHIFT_LIMIT = 8,
    TEC_SCALE_LIMIT = 1 << 18,
    TEC_PASSES = 4,
    TEC_WIDEST = TEC_LAYER_MOST,
    TEC_PRICED = 32, /* magnitudes whose bits are tabled */
};

/* The entropy model of `fp`: see FORMAT.md 9.5. Indices: octave, level, component, orientation. */
typedef struct {
    const int32_t *weights, *bias, *group, *coefficient_rows, *flag_rows, *shift_rows, *shrink;
    tec_rans_tables *tables;
    size_t groups;
    float *bits; /* (rows, TEC_PRICED): of a magnitude, both signs on average; for encoders */
    double *shift_bits; /* (groups, 17, 17): of a shift under a row of shifts */
} tec_prior;

typedef struct {
    tec_layer layers[3]; /* the bias of the first is made for each call of these three: */
    float *component, *phase, *rate;
    size_t padded;       /* width rounded up to 16 */
} tec_network;

typedef struct {
    tec_companding integers, eighths, scales;
    tec_rans_tables *tables;
    tec_prices prices; /* for encoders */
    const int8_t *offsets;
    size_t rows;       /* that have offsets */
    tec_network elic[TEC_LEVELS][3], tt[TEC_LEVELS][3];
    tec_network pass[TEC_PASSES][TEC_LEVELS][3], flags[TEC_LEVELS][3];
    const int8_t *first_offsets, *zero_offsets, *digit_offsets; /* of flextec's passes */
    size_t digit_rows;
} tec_context;

struct tec_model {
    tec_kind kind;
    tec_prior prior;
    tec_context context; /* not of fp */
    tec_rans_tables *rotations;
    const tec_tensor *tensors;
    size_t count;
    void *memory[4096]; /* to be freed */
    size_t kept;
};

/* The entries of the codebook for some of the bands at a level. */
typedef struct tec_book {
    struct tec_book *next;
    int level;
    uint32_t mask;
    size_t n;
    double *rows;           /* (entries, n, n) */
    tec_spectrum *spectrum; /* (entries) */
} tec_book;

struct tec_coder {
    const tec_model *model;
    tec_bands bands;
    const float *codebook; /* (entries, 6, sensor bands, sensor bands) */
    size_t entries;
    _Atomic(tec_book *) books;
};

/* Spectra of the bands that a level has; NULL if there is no memory. */
const tec_book *tec_book_of(const tec_coder *coder, const tec_layout *layout, int level);

/* Runs a network: features (count, inputs) to out (count, outputs). */
void tec_network_run(const tec_network *network, size_t component, unsigned rate, int phase,
                     const int16_t *features, size_t count, float *out);

tec_status tec_fail(tec_error *error, tec_status status, const char *what, const char *allowed,
                    int64_t found);

#endif
