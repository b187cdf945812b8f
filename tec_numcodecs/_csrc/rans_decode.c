#include "rans_shared.h"

/* Byte by byte, so that any alignment and byte order will do; compilers make one move of it. */
static inline uint32_t get_word(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

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

/* One direct symbol; at least one word must be left. Returns 0, and has done nothing, where there
 * is an escape, raw bits or no such row. */
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

/* Two steps at a time, one per lane, as long as both are direct symbols and words are plenty.
 * Returns how many symbols it decoded; whatever stopped it is left to pull_one. */
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
