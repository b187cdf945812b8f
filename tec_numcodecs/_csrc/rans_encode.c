#include <stdatomic.h>
#include <stdlib.h>

#include "rans_shared.h"

#if defined(TEC_RANS_NO_WIDE) /* for tests of what other compilers get */
#elif defined(__SIZEOF_INT128__)
__extension__ typedef unsigned __int128 wide;
#define HIGH_HALF(a, b) ((uint64_t)((wide)(a) * (b) >> 64))
#elif defined(_MSC_VER) && (defined(_M_X64) || defined(_M_ARM64))
#include <intrin.h>
#define HIGH_HALF(a, b) __umulh(a, b)
#endif

/* ---- symbols to steps --------------------------------------------------------------------- */

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

/* The escape interval and what follows it: writes at most four steps, returns behind them. */
static uint32_t *put_escape(uint32_t *to, const tec_rans_tables *t, const tec_rans_row *row,
                            int32_t symbol)
{
    const uint32_t start = t->cdf[row->cdf + row->last];
    const uint32_t below = symbol < row->minimum;
    uint32_t distance = below ? (uint32_t)row->minimum - (uint32_t)symbol
                              : (uint32_t)symbol - (uint32_t)row->minimum - row->last + 1;
    unsigned length = 0; /* distance >= 1 has length + 1 bits, of which the first is known */
    while (distance >> length > 1) length++;
    *to++ = start | (65536 - start) << 16;
    *to++ = uniform_step(length << 1 | below, HEAD_BITS);
    distance ^= (uint32_t)1 << length;
    if (length > 16) {
        *to++ = uniform_step(distance >> 16, length - 16);
        length = 16;
    }
    if (length) *to++ = uniform_step(distance & 0xffff, length);
    return to;
}

/* Writes the steps of direct symbols until another one comes; returns how many there were. */
static size_t put_direct(uint32_t *to, const tec_rans_tables *t, const int32_t *symbols,
                         const int32_t *rows, size_t n)
{
    size_t i;
    for (i = 0; i < n; i++) {
        const uint32_t r = (uint32_t)rows[i];
        if (UNLIKELY(r >= t->rows)) break;
        const tec_rans_row *row = &t->row[r];
        const uint32_t k = (uint32_t)symbols[i] - (uint32_t)row->minimum;
        if (UNLIKELY(k >= row->last)) break;
        const uint16_t *cdf = t->cdf + row->cdf + k;
        to[i] = cdf[0] | (uint32_t)(uint16_t)(cdf[1] - cdf[0]) << 16;
    }
    return i;
}

/* What put_direct stopped at: an escape, raw bits, or a mistake. */
static tec_rans_status put_special(tec_rans_encoder *e, const tec_rans_tables *t, int32_t symbol,
                                   uint32_t r)
{
    uint32_t *to = e->step + e->count;
    if (r < t->rows) {
        e->count += (size_t)(put_escape(to, t, &t->row[r], symbol) - to);
        return TEC_RANS_OK;
    }
    const uint32_t bits = r - TEC_RANS_UNIFORM;
    if (bits - 1 > 15) return TEC_RANS_BAD_ROW;
    if ((uint32_t)symbol >> bits) return TEC_RANS_BAD_SYMBOL;
    *to = uniform_step((uint32_t)symbol, bits);
    e->count++;
    return TEC_RANS_OK;
}

tec_rans_status tec_rans_push(tec_rans_encoder *e, const tec_rans_tables *t,
                              const int32_t *symbols, const int32_t *rows, size_t n,
                              size_t *where)
{
    const size_t before = e->count;
    tec_rans_status status = TEC_RANS_OK;
    size_t i = 0;
    while (i < n && !status) {
        status = TEC_RANS_NO_MEMORY;
        if (!reserve(e, n - i + 3)) break; /* three more, should the first one be an escape */
        const size_t direct = put_direct(e->step + e->count, t, symbols + i, rows + i, n - i);
        e->count += direct;
        i += direct;
        if (i == n) return TEC_RANS_OK;
        status = put_special(e, t, symbols[i], (uint32_t)rows[i]);
        i += !status;
    }
    if (status) {
        e->count = before;
        *where = i;
    }
    return status;
}

/* ---- steps to bytes ----------------------------------------------------------------------- */

/* Byte by byte, so that any alignment and byte order will do; compilers make one move of it. */
static inline void put_word(uint8_t *p, uint32_t word)
{
    p[0] = (uint8_t)word;
    p[1] = (uint8_t)(word >> 8);
    p[2] = (uint8_t)(word >> 16);
    p[3] = (uint8_t)(word >> 24);
}

/* Division is what a lane waits for longest. With m = floor((2^64 - 1) / f) the high half of x * m
 * is x / f or one less, for every x < 2^63: a multiplication and a correction, a sixth faster. */
#ifdef HIGH_HALF
static _Atomic uint64_t reciprocal[65536];
static atomic_int ready;

/* Several threads may come here at once: all write the same numbers. */
void tec_rans_init(void)
{
    if (atomic_load_explicit(&ready, memory_order_acquire)) return;
    for (uint32_t f = 1; f < 65536; f++)
        atomic_store_explicit(&reciprocal[f], UINT64_MAX / f, memory_order_relaxed);
    atomic_store_explicit(&ready, 1, memory_order_release);
}

static inline uint64_t reciprocal_of(uint64_t f)
{
    return atomic_load_explicit(&reciprocal[f], memory_order_relaxed);
}

static inline uint64_t put(uint64_t x, uint32_t step)
{
    const uint64_t frequency = step >> 16, rest = 65536 - frequency;
    const uint64_t quotient = HIGH_HALF(x, reciprocal_of(frequency));
    const uint64_t correction = x - quotient * frequency >= frequency ? rest : 0;
    return x + (step & 0xffff) + quotient * rest + correction;
}
#else
void tec_rans_init(void)
{
}

static inline uint64_t put(uint64_t x, uint32_t step)
{
    const uint64_t frequency = step >> 16;
    return (x / frequency << 16) + x % frequency + (step & 0xffff);
}
#endif

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
