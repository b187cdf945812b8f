/* rANS over frozen integer tables: the pure C core, free of Python.h.
 *
 * The stream is specified in the docstring of tec_numcodecs/entropy/rans.py; names here follow it.
 * Nothing in this file trusts its caller's data: tables are validated when they are built, rows
 * and symbols when they are used, streams while they are read.
 */
#ifndef TEC_RANS_H
#define TEC_RANS_H

#include <stddef.h>
#include <stdint.h>

#define TEC_RANS_UNIFORM (1 << 24) /* row UNIFORM + k is a symbol of k raw bits, 1 <= k <= 16 */
#define TEC_RANS_HEADER 17         /* most bytes in front of the words */

typedef enum {
    TEC_RANS_OK = 0,
    TEC_RANS_NO_MEMORY = 1,
    TEC_RANS_BAD_TABLES = 2,
    TEC_RANS_BAD_ROW = 3,    /* neither a row of the table nor UNIFORM + 1..16 */
    TEC_RANS_BAD_SYMBOL = 4, /* a uniform symbol that does not fit in its bits */
    TEC_RANS_CORRUPT = 5,    /* no encoder of ours wrote this stream */
    TEC_RANS_BUSY = 6        /* for the bindings: two threads in one coder */
} tec_rans_status;

/* One row, in 16 bytes: where its intervals and its look-up buckets begin. */
typedef struct {
    uint32_t cdf;    /* first interval, in tec_rans_tables.cdf */
    uint32_t lut;    /* first bucket, in tec_rans_tables.lut */
    int32_t minimum; /* the symbol of interval 0 */
    uint16_t last;   /* index of the last interval, which is the escape; >= 1 */
    uint16_t shift;  /* slot >> shift is the bucket */
} tec_rans_row;

typedef struct {
    size_t rows;
    tec_rans_row *row;
    uint16_t *cdf; /* interval starts of all rows, and one 0 behind them */
    uint16_t *lut; /* per bucket: the interval that holds the bucket's first slot */
} tec_rans_tables;

/* The encoder keeps steps, start | frequency << 16, and codes them backwards at the end. */
typedef struct {
    uint32_t *step;
    size_t count, capacity;
} tec_rans_encoder;

typedef struct {
    uint8_t header[TEC_RANS_HEADER];
    size_t header_size;
    const uint8_t *words; /* inside the encoder: copy before it is freed */
    size_t words_size;
} tec_rans_stream;

typedef struct {
    uint64_t x[2];             /* lane states; x[0] alone when not split */
    const uint8_t *next, *end; /* words not read yet: always a multiple of 4 bytes */
    unsigned lane;             /* lane of the next step; 0 when not split */
    unsigned split;            /* are there two states? */
} tec_rans_decoder;

/* Before the first tec_rans_finish; calling it again, from any thread, does no harm. */
void tec_rans_init(void);

/* starts: rows + 1 offsets into cdf. Free the result with tec_rans_tables_free. */
tec_rans_status tec_rans_tables_new(const uint16_t *cdf, const int64_t *starts,
                                    const int32_t *minimum, size_t entries, size_t rows,
                                    tec_rans_tables **out);
void tec_rans_tables_free(tec_rans_tables *tables);

/* Adds symbols in decoding order. On failure nothing is added and *where is the culprit. */
tec_rans_status tec_rans_push(tec_rans_encoder *encoder, const tec_rans_tables *tables,
                              const int32_t *symbols, const int32_t *rows, size_t n,
                              size_t *where);
/* Codes everything, overwriting the steps: call once, then clear. */
void tec_rans_finish(tec_rans_encoder *encoder, tec_rans_stream *stream);
void tec_rans_encoder_clear(tec_rans_encoder *encoder);

/* The decoder reads from data, which must outlive it. It allocates nothing. */
tec_rans_status tec_rans_open(tec_rans_decoder *decoder, const uint8_t *data, size_t size);
/* On failure the decoder is unchanged, *where is the culprit and out is undefined. */
tec_rans_status tec_rans_pull(tec_rans_decoder *decoder, const tec_rans_tables *tables,
                              const int32_t *rows, int32_t *out, size_t n, size_t *where);
/* Is everything read, and the state back at its initial value? */
tec_rans_status tec_rans_close(const tec_rans_decoder *decoder);

#endif
