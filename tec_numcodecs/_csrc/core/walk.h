/* What reading and writing a date share: where it stands, and the planes around. */
#ifndef TEC_WALK_H
#define TEC_WALK_H

#include "planes.h"
#include "wavelet.h"

enum { TEC_HISTORY = 8, TEC_COEFFICIENT_LIMIT = 1 << 22, TEC_STEP_UNIT = 16, TEC_PLANE_LIMIT = 1 << 21 };

/* A date that is decoded, as others refer to it: planes under the levels and their details, in
 * bands. */
typedef struct {
    const tec_layout *layout;
    int32_t *under[TEC_LEVELS], *detail[TEC_LEVELS]; /* (n, low), (3, n, plane) */
    int8_t shift[TEC_LEVELS + 1][TEC_MOST_BANDS][3];
} tec_visited;

/* The planes of one level of a context model; all but `flat` ones have a border of one. */
typedef struct {
    size_t n, pitch, numbers;   /* of a plane with its border */
    int32_t *q, *magnitude;     /* (n, 3, numbers) */
    int32_t *before;            /* (3, numbers): magnitudes summed over the components before */
    size_t summed;              /* components that are in it */
    int32_t *total;             /* (numbers): over orientations, too; of a level that is complete */
    int32_t *low;               /* (n, numbers): the image under the level */
    int32_t *old, *change;      /* (n, 3, numbers), (n, numbers) of a reference, or NULL */
    int32_t *every, *finer;     /* of the pass before: (3, numbers), (n, 3, numbers) or NULL */
} tec_neighborhood;

/* Scratch for the places of a plane. */
typedef struct {
    int64_t *flat, *own, *parent, *block;
    size_t ends[4];
    int16_t *features;
    float *out, *mean, *scale, *shape;
    int32_t *row, *base, *raw, *q, *value, *expected, *before;
    uint8_t *flags; /* with a border */
} tec_scratch;

typedef struct {
    int level;
    size_t k, o;
    tec_size size;
} tec_plane;

typedef struct tec_walk {
    const tec_coder *coder;
    const tec_model *model;
    const tec_layout *layout;
    unsigned rate, octave;      /* of a pass of flextec, those that it stands for */
    int unit;                   /* steps of the chunk are 1: late bands have no gain */
    int32_t step[TEC_LEVELS + 1][3]; /* in sixteenths of a DN */
    tec_arena *arena;
    tec_error *error;
    tec_rans_decoder *decoder; /* of who reads */
    uint32_t crc;              /* of the symbols so far */
    int quiet;                 /* integers of planes under rows of `fp` are not in it */
    int8_t shift[TEC_LEVELS + 1][TEC_MOST_BANDS][3];
    const tec_visited *followed; /* whose shifts these follow, or NULL */
    tec_fields fields[TEC_LEVELS + 1];
    const tec_spectrum *spectrum; /* of the level */
    tec_spectrum own;             /* where it is the date's own */
    int32_t *under;               /* planes under the level, (n, low), in bands */
    int32_t *detail[3];           /* coefficients of the level: (n, plane) each orientation */
    /* Context models: */
    tec_neighborhood levels[TEC_LEVELS];
    const tec_network (*networks)[3];
    const tec_visited *const *past; /* dates that this one refers to, or NULL */
    size_t pasts;
    /* Passes of flextec: */
    int passes, pass;            /* whether there are any; 0 to 3 */
    const struct tec_walk *last; /* the pass before, or NULL */
    const tec_visited *seen;     /* what it reconstructed */
    /* Scratch for a plane: */
    int32_t *scale, *integers, *rows, *symbols, *where, *sums;
    uint8_t *flags;
    tec_scratch scratch;
} tec_walk;

/* Begins a date; 0 if there is no memory. */
int tec_walk_begin(tec_walk *walk, const tec_coder *coder, const tec_layout *layout, unsigned rate,
                   tec_arena *arena, tec_error *error);
/* Samples of the largest plane that a layout has. */
size_t tec_largest_plane(const tec_layout *layout);
void tec_steps(unsigned rate, int32_t step[TEC_LEVELS + 1][3]);

/* The spectrum of an entry and a list of rotations, for the level; NULL with an error set. */
const tec_spectrum *tec_spectrum_of(tec_walk *walk, int level, unsigned entry,
                                    const tec_rotations *list);
/* Enters a level: fields, and for context models the image under it; 0 if there is no memory. */
int tec_level_enter(tec_walk *walk, int level);
/* Expected magnitudes of a plane and their sums over blocks, to walk->scale and walk->sums. */
void tec_plane_expect(tec_walk *walk, tec_plane plane);
/* The shift under which a plane's shift is coded. */
int tec_shift_before(const tec_walk *walk, tec_plane plane);

/* Residuals of the low-pass (n, plane) to integers, in place; they wrap at 32 bits. */
void tec_low_restore(int32_t *residuals, tec_size size);
void tec_low_predict(const int32_t *q, tec_size size, int32_t *residuals);
/* An integer to a coefficient in DN, without an offset. */
static inline int64_t tec_in_dn(int64_t magnitude64, int64_t step)
{
    return (magnitude64 * step + 512) >> 10;
}

/* After the low-pass is known as integers (n, plane): coefficients, in arena memory, then planes
 * under level 4, walk->under, from coefficients. */
int32_t *tec_low_values(tec_walk *walk, const int32_t *integers);
void tec_low_leave(tec_walk *walk, int32_t *values);
/* After all details of a level: inverse spectrum. `keep` gets a copy of what later dates or passes
 * may refer to, or is NULL. */
void tec_level_bands(tec_walk *walk, int level, tec_visited *keep);
/* Then the inverse wavelet. Returns planes (n, grid) that the level splits, of the bands of the
 * level; NULL if there is no memory. */
int32_t *tec_level_merge(tec_walk *walk, int level);
/* Cuts planes of a level to those of the bands that the next finer level has. */
int tec_level_cut(tec_walk *walk, int level, const int32_t *planes);

/* Bands to components in eighths of a step: z = R x, floor(z f + 1/2), clipped; rows of count. */
void tec_in_steps(const tec_spectrum *spectrum, const int32_t *const *bands, size_t count,
                  int32_t step, int32_t limit, int32_t *const *out);

/* Makes the planes around those of a level of a context model; 0 if there is no memory. */
int tec_surround(tec_walk *walk, int level);

/* Details of a plane under a context model. Flags (blocks) and shift are known; `choose` says what
 * the coefficients are. q (plane) gets the integers, walk->detail the coefficients. */
typedef struct {
    const int64_t *flat;
    const int32_t *row, *base, *raw;
    const int32_t *before; /* integers of the pass before, or NULL */
    size_t count;
} tec_choice;
typedef tec_status (*tec_chooser)(void *state, const tec_choice *choice, int32_t *q);
tec_status tec_detail_code(tec_walk *walk, tec_plane plane, int shift, const uint8_t *flags,
                           tec_chooser choose, void *state, int32_t *q);

/* Rows of a later pass of flextec: integers that were 0 before, binary digits, block flags. */
tec_pass tec_pass_tables(const tec_context *context);
int32_t tec_flag_row(const tec_context *context, int logit);

/* Shows planes at a level as samples of the chunk; see FORMAT.md 9.0 and 9.7. planes (n, grid) of
 * the bands of `level`, out (bands, height, width) at level `wanted`. */
void tec_show(const tec_walk *walk, int level, const int32_t *planes, unsigned wanted, int32_t *out);

/* Decodes one date's stream; out: (bands, height, width) at the level. */
tec_status tec_date_decode(tec_walk *walk, const uint8_t *data, size_t size, int lists,
                           unsigned level, tec_visited *keep, int32_t *out);

#endif
