/* Mini flextec: a date in up to 16 tokens, in four passes. FORMAT.md 12. */
#ifndef TEC_FLEXTEC_H
#define TEC_FLEXTEC_H

#include "walk.h"

/* Sums of magnitudes over the blocks of a level, in this pass and in the one before; all planes
 * have as many blocks as the low-pass of the level would. */
typedef struct {
    size_t down, across, n;
    int32_t *before, *now; /* (n, 3, down, across) */
    int32_t *finer;        /* (n, 3, down, across): of the pass before, next finer level */
} tec_block_sizes;

/* One of the passes. */
typedef struct {
    tec_walk walk;
    tec_arena arena;
    tec_visited seen; /* what it reconstructs */
    tec_block_sizes blocks[TEC_LEVELS];
    int32_t *low; /* integers of the low-pass (n, plane), as the pass knows them */
    unsigned missing; /* digits that they lack */
} tec_pass_walk;

/* A date in passes; two of them are alive at a time. */
typedef struct {
    tec_pass_walk passes[2];
    tec_spectrum spectra[TEC_LEVELS + 1];
    unsigned rate; /* the chunk's */
} tec_flex;

/* Token of a pass that holds a level. */
static inline int tec_token_of(int level) { return level >= 3 ? 0 : 3 - level; }
unsigned tec_low_missing(unsigned rate, int pass);

/* Begins a pass; 0 if there is no memory. */
int tec_pass_begin(tec_flex *flex, int pass, const tec_coder *coder, const tec_layout *layout,
                   tec_error *error);
static inline tec_pass_walk *tec_pass_of(tec_flex *flex, int pass) { return &flex->passes[pass % 2]; }
void tec_flex_free(tec_flex *flex);

/* Planes under level 4 from the integers of the low-pass. */
tec_status tec_pass_low(tec_pass_walk *own);
/* Row of the flags of a component of the low-pass, in later passes. */
int32_t tec_low_flag_row(const tec_pass_walk *own, const tec_pass_walk *last, size_t k);

/* Enters a level in a later pass. */
int tec_blocks_enter(tec_pass_walk *own, const tec_pass_walk *last, int level);
/* Blocks of a plane that were all zero before: 1 in `unknown` (blocks); how many. */
size_t tec_unknown_blocks(const tec_pass_walk *own, tec_plane plane, uint8_t *unknown);
/* Rows of the flags of these blocks, in their order. walk->sums are those of the plane. */
int tec_flag_rows(tec_pass_walk *own, tec_plane plane, const uint8_t *unknown, size_t count,
                  int32_t *rows);
/* Notes a plane that has been coded. */
void tec_blocks_set(tec_pass_walk *own, tec_plane plane, const int32_t *q);

/* Leaves a level: what it reconstructs, and the next level's planes if there is one to come. */
tec_status tec_pass_leave(tec_pass_walk *own, const tec_pass_walk *last, int level, int coded,
                          int last_pass, unsigned wanted, int32_t *out);

/* Decodes a date's stream, of which `tokens` are stored and `used` are read. */
tec_status tec_flex_decode(tec_flex *flex, const tec_coder *coder, const tec_layout *layout,
                           unsigned rate, const uint8_t *data, size_t size, int lists,
                           unsigned tokens, unsigned used, unsigned level, int32_t *out,
                           uint32_t *crc, tec_error *error);

/* Encodes a date on which `first`, whose walk has begun and that is analyzed, decides as elic does;
 * encoders: one for each of the tokens. decoded may be NULL. */
struct tec_writer;
tec_status tec_flex_encode(tec_flex *flex, struct tec_writer *first, unsigned rate, unsigned tokens,
                           tec_rans_encoder *encoders, int32_t *decoded, uint32_t *crc);

#endif
