/* The core of the mini family: samples of a chunk to and from its latents. C11, no dependency.
 *
 * Nothing here knows Python. A model is made of the tensors of a weights file, which stay the
 * caller's and must outlive it; a coder is a model for one sensor's set of bands. Both may be used
 * by any number of threads at a time. There is no global state. Errors are codes with a place.
 * FORMAT.md is the specification.
 */
#ifndef TEC_H
#define TEC_H

#include <stddef.h>
#include <stdint.h>

enum { TEC_LEVELS = 5, TEC_LOW = 5, TEC_MOST_BANDS = 13, TEC_MOST_RATE = 223, TEC_TOKENS = 16 };

typedef enum {
    TEC_OK = 0,
    TEC_NO_MEMORY,
    TEC_BAD_ARGUMENT,
    TEC_BAD_WEIGHTS,
    TEC_CORRUPT,
} tec_status;

/* What went wrong, and where. Texts are constants. */
typedef struct {
    tec_status status;
    const char *what;    /* what was found */
    const char *allowed; /* what is allowed there; may be NULL */
    int64_t found;       /* a number that says more, or 0 */
    int32_t date, level; /* -1 where there is none; level 5 is the low-pass */
} tec_error;

typedef enum { TEC_INT8, TEC_INT16, TEC_UINT16, TEC_INT32, TEC_INT64, TEC_FLOAT32 } tec_type;

/* A tensor of a weights file, C order, little-endian, in this machine's own order. */
typedef struct {
    const char *name;
    const void *data;
    tec_type type;
    size_t count;      /* of all elements */
    size_t last, rows; /* length of the last axis; count / last */
} tec_tensor;

typedef enum { TEC_FP = 1, TEC_ELIC = 2, TEC_TT = 3, TEC_FLEXTEC = 4 } tec_kind;

typedef struct tec_model tec_model;
typedef struct tec_coder tec_coder;

tec_status tec_model_new(tec_kind kind, const tec_tensor *tensors, size_t count, tec_model **out,
                         tec_error *error);
void tec_model_free(tec_model *model);

/* Bands of a sensor that a chunk has, in the sensor's order. */
typedef struct {
    const char *codebook; /* name of the tensor */
    size_t sensor_bands, bands;
    uint8_t index[TEC_MOST_BANDS];
    int32_t mean[TEC_MOST_BANDS], wavelength[TEC_MOST_BANDS];
} tec_bands;

tec_status tec_coder_new(const tec_model *model, tec_bands bands, tec_coder **out,
                         tec_error *error);
void tec_coder_free(tec_coder *coder);
size_t tec_coder_bands(const tec_coder *coder);

/* A chunk, and how its integers are to be read. */
typedef struct {
    size_t dates, height, width;
    unsigned rate;   /* 0 to TEC_MOST_RATE */
    unsigned tokens; /* of flextec: how many are there, 1 to 16 */
} tec_chunk;

/* Length of an axis of n pixels at a level: ceil(n / 2^level). */
size_t tec_length(size_t n, unsigned level);

/* Decodes section 2 of a chunk to digital numbers.
 *
 * wanted: a byte for each date, 0 to leave it out; NULL for all. out: (dates, bands, height,
 * width) at that level, of all dates; those left out and those without data are not touched.
 * has_data: a byte for each date. stop: flextec: use the first tokens only, 0 for all.
 * symbols: the checksum of the header; not looked at where the tokens end early. */
tec_status tec_decode(const tec_coder *coder, tec_chunk chunk, const uint8_t *data, size_t size,
                      uint32_t symbols, const uint8_t *wanted, unsigned level, unsigned stop,
                      int32_t *out, uint8_t *has_data, tec_error *error);

/* How replication is found in a date's bands, and how they are coded: classes 0 to 3, phases by
 * class. */
typedef struct {
    uint8_t kind[TEC_MOST_BANDS];
    uint8_t row[4], column[4];
} tec_replication;

/* Finds exact replication in one date (bands, height, width); masked pixels, where invalid is not
 * 0, count as equal to everything. invalid may be NULL. */
void tec_find_replication(const int32_t *samples, const uint8_t *invalid, size_t bands,
                          size_t height, size_t width, tec_replication *out);

/* Bytes that the caller frees with tec_bytes_free. */
typedef struct {
    uint8_t *data;
    size_t size;
} tec_bytes;
void tec_bytes_free(tec_bytes *bytes);

/* Encodes digital numbers (dates, bands, height, width), masked pixels filled. has_data: a byte
 * for each date, or NULL for all. replication: one for each date, or NULL for none. Flags: */
enum { TEC_ROTATE = 1 };
/* decoded: what decoding will give, or NULL. symbols: for the header. */
tec_status tec_encode(const tec_coder *coder, tec_chunk chunk, const int32_t *samples,
                      const uint8_t *has_data, const tec_replication *replication, unsigned flags,
                      tec_bytes *out, uint32_t *symbols, int32_t *decoded, tec_error *error);

/* CRC-32C (Castagnoli) of bytes, going on from crc; begin with 0. */
uint32_t tec_crc32c(uint32_t crc, const void *data, size_t size);

#endif
