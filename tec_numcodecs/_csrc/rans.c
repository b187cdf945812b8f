#include "rans.h"

#include <stdlib.h>

#if defined(__GNUC__) || defined(__clang__)
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
#else
#define LIKELY(x) (x)
#define UNLIKELY(x) (x)
#endif

#define INITIAL ((uint64_t)1 << 16) /* the single state before the first coded step */
#define LOWER ((uint64_t)1 << 31)   /* lane states are in [2^31, 2^63) */
#define UPPER ((uint64_t)1 << 63)
#define HEAD_BITS 6 /* an escape's head: one sign bit, five bits of length */

/* Byte by byte, so that any alignment and byte order will do; compilers make one move of it. */
static inline uint32_t get_word(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline void put_word(uint8_t *p, uint32_t word)
{
    p[0] = (uint8_t)word;
    p[1] = (uint8_t)(word >> 8);
    p[2] = (uint8_t)(word >> 16);
    p[3] = (uint8_t)(word >> 24);
}

/* ---- encoding: symbols to steps ------------------------------------------------------------ */

static int reserve(tec_rans_encoder *e, size_t more)
{
    if (e->capacity - e->count >= more) return 1;
    if (more > SIZE_MAX / 8 - e->count) return 0;
    size_t capacity = e->count + more;
    if (capacity < e->capacity + e->capacity / 2) capacity = e->capacity + e->capacity / 2;
    uint32_t *step = realloc(e->step, capacity * sizeof *step);
    if (!step) return 0;
    e->step = step;
    e->capacity = capacity;
    return 1;
}

static inline uint32_t uniform_step(uint32_t value, unsigned bits)
{
    return value << (16 - bits) | (uint32_t)1 << (32 - bits);
}

/* The escape interval and what follows it; four steps at most, space for them is reserved. */
static void push_escape(tec_rans_encoder *e, const tec_rans_tables *t, const tec_rans_row *row,
                        int32_t symbol)
{
    uint32_t start = t->cdf[row->cdf + row->last];
    uint32_t below = symbol < row->minimum;
    uint32_t distance = below ? (uint32_t)row->minimum - (uint32_t)symbol
                              : (uint32_t)symbol - (uint32_t)row->minimum - row->last + 1;
    unsigned length = 0; /* distance >= 1 has length + 1 bits, of which the first is known */
    while (distance >> length > 1) length++;
    e->step[e->count++] = start | (65536 - start) << 16;
    e->step[e->count++] = uniform_step(length << 1 | below, HEAD_BITS);
    distance ^= (uint32_t)1 << length;
    if (length > 16) {
        e->step[e->count++] = uniform_step(distance >> 16, length - 16);
        length = 16;
    }
    if (length) e->step[e->count++] = uniform_step(distance & 0xffff, length);
}

tec_rans_status tec_rans_push(tec_rans_encoder *e, const tec_rans_tables *t,
                              const int32_t *symbols, const int32_t *rows, size_t n,
                              size_t *where)
{
    const size_t before = e->count;
    tec_rans_status status = TEC_RANS_NO_MEMORY;
    size_t i = 0;
    if (!reserve(e, n)) goto fail;
    for (; i < n; i++) {
        const int32_t symbol = symbols[i];
        const uint32_t r = (uint32_t)rows[i];
        if (LIKELY(r < t->rows)) {
            const tec_rans_row *row = &t->row[r];
            uint32_t k = (uint32_t)symbol - (uint32_t)row->minimum;
            if (LIKELY(k < row->last)) {
                const uint16_t *cdf = t->cdf + row->cdf + k;
                e->step[e->count++] = cdf[0] | (uint32_t)(uint16_t)(cdf[1] - cdf[0]) << 16;
            } else {
                if (!reserve(e, n - i + 3)) goto fail;
                push_escape(e, t, row, symbol);
            }
            continue;
        }
        const uint32_t bits = r - TEC_RANS_UNIFORM;
        status = TEC_RANS_BAD_ROW;
        if (bits - 1 > 15) goto fail;
        status = TEC_RANS_BAD_SYMBOL;
        if ((uint32_t)symbol >> bits) goto fail;
        status = TEC_RANS_NO_MEMORY;
        e->step[e->count++] = uniform_step((uint32_t)symbol, bits);
    }
    return TEC_RANS_OK;
fail:
    e->count = before;
    *where = i;
    return status;
}

/* ---- encoding: steps to bytes -------------------------------------------------------------- */

static inline uint64_t put(uint64_t x, uint32_t step)
{
    const uint64_t frequency = step >> 16;
    return (x / frequency << 16) + x % frequency + (step & 0xffff);
}

/* Makes room in the lane if it must, without a branch: the word is always stored, and kept or
 * not. A step is read before its place is overwritten, since each step frees at most one word. */
static inline uint64_t put_lane(uint64_t x, uint32_t step, uint8_t **words)
{
    const unsigned full = x >= (uint64_t)(step >> 16) << 47;
    put_word(*words - 4, (uint32_t)x);
    *words -= full << 2;
    return put(x >> (full << 5), step);
}

/* Little-endian without its leading zero bytes; returns how many bytes that takes. */
static size_t put_state(uint8_t *p, uint64_t x)
{
    size_t size = 0;
    for (; x; x >>= 8) p[size++] = (uint8_t)x;
    return size;
}

void tec_rans_finish(tec_rans_encoder *e, tec_rans_stream *s)
{
    *s = (tec_rans_stream){{0}, 0, NULL, 0};
    if (!e->count) return;
    uint8_t *const end = (uint8_t *)(e->step + e->count);
    uint8_t *words = end;
    uint64_t x = INITIAL;
    size_t t = e->count;
    while (t && x < (uint64_t)(e->step[t - 1] >> 16) << 47) x = put(x, e->step[--t]);
    if (!t) { /* everything went into one state */
        s->header_size = put_state(s->header, x);
    } else {
        uint64_t lane[2];
        t--;
        lane[t & 1] = put(x >> 32, e->step[t]);
        lane[(t & 1) ^ 1] = (uint64_t)1 << 32 | (uint32_t)x;
        if (t & 1) { /* step t - 1 is of lane 0: get to an even number of steps */
            t--;
            lane[0] = put_lane(lane[0], e->step[t], &words);
        }
        uint64_t even = lane[0], odd = lane[1];
        for (; t; t -= 2) {
            const uint32_t later = e->step[t - 1], earlier = e->step[t - 2];
            odd = put_lane(odd, later, &words);
            even = put_lane(even, earlier, &words);
        }
        size_t first = put_state(s->header + 1, even);
        size_t second = put_state(s->header + 1 + first, odd);
        s->header[0] = (uint8_t)(first | second << 4);
        s->header_size = 1 + first + second;
    }
    s->words = words;
    s->words_size = (size_t)(end - words);
}

void tec_rans_encoder_clear(tec_rans_encoder *e)
{
    free(e->step);
    *e = (tec_rans_encoder){0};
}

/* ---- decoding ------------------------------------------------------------------------------ */

/* Reads one state of `size` bytes; 0 where none of ours looks like that. */
static uint64_t get_state(const uint8_t *p, size_t size)
{
    uint64_t x = 0;
    if (size < 1 || size > 8 || p[size - 1] == 0) return 0;
    for (size_t i = size; i--;) x = x << 8 | p[i];
    return x < UPPER ? x : 0;
}

tec_rans_status tec_rans_open(tec_rans_decoder *d, const uint8_t *data, size_t size)
{
    *d = (tec_rans_decoder){{INITIAL, 0}, NULL, NULL, 0, 0};
    if (!size) return TEC_RANS_OK;
    if (size <= 8) {
        d->next = d->end = data + size;
        d->x[0] = get_state(data, size);
        return d->x[0] > INITIAL ? TEC_RANS_OK : TEC_RANS_CORRUPT;
    }
    const size_t first = data[0] & 15, second = data[0] >> 4;
    const size_t header = 1 + first + second;
    if (header > size || (size - header) % 4) return TEC_RANS_CORRUPT;
    d->x[0] = get_state(data + 1, first);
    d->x[1] = get_state(data + 1 + first, second);
    d->split = 1;
    d->next = data + header;
    d->end = data + size;
    return d->x[0] >= LOWER && d->x[1] >= LOWER ? TEC_RANS_OK : TEC_RANS_CORRUPT;
}

/* The interval that holds the slot. The value behind a row's last start is the next row's 0 (or
 * the one behind all rows), which minus one is 65535: the walk ends there without a test. */
static inline const uint16_t *find(const tec_rans_tables *t, const tec_rans_row *row,
                                   uint32_t slot)
{
    const uint16_t *cdf = t->cdf + row->cdf + t->lut[row->lut + (slot >> row->shift)];
    while ((uint16_t)(cdf[1] - 1) < slot) cdf++;
    return cdf;
}

/* Two steps at a time, one per lane, as long as both are direct symbols and words are plenty.
 * Returns how many symbols it decoded; whatever stopped it is left to pull_one. */
static inline int pull_direct(const tec_rans_tables *t, uint32_t r, uint64_t *x,
                              const uint8_t **next, int32_t *out)
{
    if (UNLIKELY(r >= t->rows)) return 0;
    const tec_rans_row *row = &t->row[r];
    const uint32_t slot = *x & 0xffff;
    const uint16_t *cdf = find(t, row, slot);
    const uint32_t k = (uint32_t)(cdf - t->cdf) - row->cdf;
    if (UNLIKELY(k == row->last)) return 0;
    const uint64_t rest = (*x >> 16) * (uint16_t)(cdf[1] - cdf[0]) + slot - cdf[0];
    const uint64_t refilled = rest << 32 | get_word(*next);
    const unsigned low = rest < LOWER;
    *x = low ? refilled : rest;
    *next += low << 2;
    *out = row->minimum + (int32_t)k;
    return 1;
}

static size_t pull_pairs(tec_rans_decoder *d, const tec_rans_tables *t, const int32_t *rows,
                         int32_t *out, size_t n)
{
    uint64_t a = d->x[d->lane], b = d->x[d->lane ^ 1];
    const uint8_t *next = d->next;
    size_t i = 0;
    unsigned odd = 0;
    while (n - i >= 2 && d->end - next >= 8) {
        if (!pull_direct(t, (uint32_t)rows[i], &a, &next, out + i)) break;
        i++;
        if (!pull_direct(t, (uint32_t)rows[i], &b, &next, out + i)) {
            odd = 1;
            break;
        }
        i++;
    }
    d->x[d->lane] = a;
    d->x[d->lane ^ 1] = b;
    d->lane ^= odd;
    d->next = next;
    return i;
}

/* Takes one step out of the state, and refills or joins the lanes. */
static tec_rans_status advance(tec_rans_decoder *d, uint32_t start, uint32_t frequency)
{
    const unsigned lane = d->lane;
    uint64_t x = d->x[lane];
    x = (x >> 16) * frequency + (x & 0xffff) - start;
    if (!d->split) {
        d->x[0] = x;
        return x >= INITIAL ? TEC_RANS_OK : TEC_RANS_CORRUPT;
    }
    if (x < LOWER && d->next == d->end) { /* where the encoder went from one state to two */
        const uint64_t other = d->x[lane ^ 1];
        if (other >> 32 != 1) return TEC_RANS_CORRUPT;
        d->x[0] = x << 32 | (uint32_t)other;
        d->lane = d->split = 0;
        return d->x[0] >= INITIAL ? TEC_RANS_OK : TEC_RANS_CORRUPT;
    }
    if (x < LOWER) {
        x = x << 32 | get_word(d->next);
        d->next += 4;
    }
    d->x[lane] = x;
    d->lane = lane ^ 1;
    return TEC_RANS_OK;
}

static tec_rans_status pull_bits(tec_rans_decoder *d, unsigned bits, uint32_t *value)
{
    *value = (uint32_t)(d->x[d->lane] & 0xffff) >> (16 - bits);
    return advance(d, *value << (16 - bits), (uint32_t)1 << (16 - bits));
}

static tec_rans_status pull_escape(tec_rans_decoder *d, const tec_rans_row *row, int32_t *out)
{
    uint32_t head, bits;
    tec_rans_status status = pull_bits(d, HEAD_BITS, &head);
    if (status) return status;
    unsigned length = head >> 1;
    uint64_t distance = 1;
    if (length > 16) {
        if ((status = pull_bits(d, length - 16, &bits))) return status;
        distance = distance << (length - 16) | bits;
        length = 16;
    }
    if (length) {
        if ((status = pull_bits(d, length, &bits))) return status;
        distance = distance << length | bits;
    }
    const int64_t symbol = head & 1 ? (int64_t)row->minimum - (int64_t)distance
                                    : (int64_t)row->minimum + row->last - 1 + (int64_t)distance;
    if (symbol < INT32_MIN || symbol > INT32_MAX) return TEC_RANS_CORRUPT;
    *out = (int32_t)symbol;
    return TEC_RANS_OK;
}

static tec_rans_status pull_one(tec_rans_decoder *d, const tec_rans_tables *t, uint32_t r,
                                int32_t *out)
{
    if (r < t->rows) {
        const tec_rans_row *row = &t->row[r];
        const uint16_t *cdf = find(t, row, (uint32_t)(d->x[d->lane] & 0xffff));
        const uint32_t k = (uint32_t)(cdf - t->cdf) - row->cdf;
        tec_rans_status status = advance(d, cdf[0], (uint16_t)(cdf[1] - cdf[0]));
        if (status) return status;
        if (k == row->last) return pull_escape(d, row, out);
        *out = row->minimum + (int32_t)k;
        return TEC_RANS_OK;
    }
    uint32_t value = 0;
    if (r - TEC_RANS_UNIFORM - 1 > 15) return TEC_RANS_BAD_ROW;
    tec_rans_status status = pull_bits(d, r - TEC_RANS_UNIFORM, &value);
    *out = (int32_t)value;
    return status;
}

tec_rans_status tec_rans_pull(tec_rans_decoder *decoder, const tec_rans_tables *t,
                              const int32_t *rows, int32_t *out, size_t n, size_t *where)
{
    tec_rans_decoder d = *decoder;
    size_t i = 0;
    while (i < n) {
        if (d.split) i += pull_pairs(&d, t, rows + i, out + i, n - i);
        if (i == n) break;
        tec_rans_status status = pull_one(&d, t, (uint32_t)rows[i], out + i);
        if (status) {
            *where = i;
            return status;
        }
        i++;
    }
    *decoder = d;
    return TEC_RANS_OK;
}

tec_rans_status tec_rans_close(const tec_rans_decoder *d)
{
    return !d->split && d->next == d->end && d->x[0] == INITIAL ? TEC_RANS_OK
                                                                : TEC_RANS_CORRUPT;
}
