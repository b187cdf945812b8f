/* Stress for the rANS core under sanitizers: random tables, round trips, then every kind of
 * damage. Prints nothing and returns 0 when all is well. Usage: rans_stress [rounds] [seed]
 *
 * Every buffer that the core reads or writes is a heap block of exactly the size it is told, so
 * that the address sanitizer sees a step over either end.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rans.h"

#define CHECK(condition)                                                                          \
    do {                                                                                          \
        if (!(condition)) {                                                                       \
            fprintf(stderr, "line %d, round %ld: %s\n", __LINE__, round_number, #condition);      \
            abort();                                                                              \
        }                                                                                         \
    } while (0)

static uint64_t state;
static long round_number;

/* splitmix64: a generator of our own, so that a seed means the same everywhere. */
static uint64_t draw(void)
{
    uint64_t z = (state += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static size_t below(size_t n)
{
    return (size_t)(draw() % n);
}

static void *block(size_t size)
{
    void *p = malloc(size ? size : 1);
    if (!p) abort();
    return p;
}

typedef struct {
    uint16_t *cdf;
    int64_t *starts;
    int32_t *minimum;
    size_t rows, entries;
    tec_rans_tables *tables;
} model;

static int by_value(const void *a, const void *b)
{
    return *(const uint16_t *)a - *(const uint16_t *)b;
}

/* Strictly increasing starts: distinct draws, clustered in some rows, to skew the intervals. */
static void fill_row(uint16_t *cdf, size_t n)
{
    static uint8_t taken[65536];
    const unsigned shift = (unsigned)below(n < 20 ? 12 : 4);
    if (n == 65536) { /* there is one such row */
        for (size_t i = 0; i < n; i++) cdf[i] = (uint16_t)i;
        return;
    }
    memset(taken, 0, sizeof taken);
    cdf[0] = 0;
    taken[0] = 1;
    for (size_t i = 1; i < n; i++) {
        size_t value = below(4) ? below((65536 >> shift) - 1) + 1 : below(65535) + 1;
        while (taken[value]) value = value == 65535 ? 1 : value + 1;
        taken[value] = 1;
        cdf[i] = (uint16_t)value;
    }
    qsort(cdf, n, sizeof *cdf, by_value);
}

static int32_t draw_minimum(size_t n)
{
    switch (below(8)) {
    case 0: return INT32_MIN;
    case 1: return (int32_t)(INT32_MAX - (int64_t)n + 2);
    default: return (int32_t)below(2000) - 1500;
    }
}

static void new_model(model *m)
{
    static const size_t sizes[] = {2, 2, 3, 5, 17, 64, 300, 2000, 65536};
    m->rows = below(12);
    m->entries = 0;
    m->starts = block((m->rows + 1) * sizeof *m->starts);
    m->minimum = block(m->rows * sizeof *m->minimum);
    m->starts[0] = 0;
    for (size_t r = 0; r < m->rows; r++) {
        size_t n = sizes[below(below(20) ? 7 : 9)];
        m->minimum[r] = draw_minimum(n);
        m->entries += n;
        m->starts[r + 1] = (int64_t)m->entries;
    }
    m->cdf = block(m->entries * sizeof *m->cdf);
    for (size_t r = 0; r < m->rows; r++)
        fill_row(m->cdf + m->starts[r], (size_t)(m->starts[r + 1] - m->starts[r]));
    CHECK(tec_rans_tables_new(m->cdf, m->starts, m->minimum, m->entries, m->rows, &m->tables) ==
          TEC_RANS_OK);
}

static void free_model(model *m)
{
    free(m->cdf);
    free(m->starts);
    free(m->minimum);
    tec_rans_tables_free(m->tables);
}

/* What a table must be, said a second time. */
static int is_valid(const model *m)
{
    if (m->starts[0] != 0 || m->starts[m->rows] != (int64_t)m->entries) return 0;
    for (size_t r = 0; r < m->rows; r++) /* all bounds, before any of them is used */
        if (m->starts[r] < 0 || m->starts[r] > (int64_t)m->entries) return 0;
    for (size_t r = 0; r < m->rows; r++) {
        const int64_t first = m->starts[r], end = m->starts[r + 1];
        if (end - first < 2 || end - first > 65536 || m->cdf[first] != 0) return 0;
        if (m->minimum[r] + (end - first - 2) > INT32_MAX) return 0;
        for (int64_t i = first + 1; i < end; i++)
            if (m->cdf[i] <= m->cdf[i - 1]) return 0;
    }
    return 1;
}

static void damage_model(model *m)
{
    for (int i = 0; i < 6; i++) {
        tec_rans_tables *tables;
        int64_t *start = &m->starts[below(m->rows + 1)], kept_start = *start;
        uint16_t none = 0, *cdf = m->entries ? &m->cdf[below(m->entries)] : &none, kept_cdf = *cdf;
        int32_t nothing = 0, *minimum = m->rows ? &m->minimum[below(m->rows)] : &nothing;
        int32_t kept_minimum = *minimum;
        switch (below(5)) {
        case 0: *start = (int64_t)draw(); break;
        case 1: *start = (int64_t)(m->entries + below(5)) - 2; break;
        case 2: *start += (int64_t)below(7) - 3; break;
        case 3: *cdf = (uint16_t)draw(); break;
        default: *minimum = INT32_MAX - (int32_t)below(70); break;
        }
        tec_rans_status status = tec_rans_tables_new(m->cdf, m->starts, m->minimum, m->entries,
                                                     m->rows, &tables);
        CHECK(status == (is_valid(m) ? TEC_RANS_OK : TEC_RANS_BAD_TABLES));
        CHECK((status == TEC_RANS_OK) == (tables != NULL));
        tec_rans_tables_free(tables);
        if (below(2)) continue; /* damage piles up, or is mended */
        *start = kept_start;
        *cdf = kept_cdf;
        *minimum = kept_minimum;
    }
}

/* Symbols that are mostly direct, sometimes escapes of any size, sometimes raw bits. */
static void draw_symbols(const model *m, int32_t *symbols, int32_t *rows, size_t n)
{
    const size_t strange = below(3) ? 64 : 3;
    for (size_t i = 0; i < n; i++) {
        if (!m->rows || !below(strange)) {
            unsigned bits = (unsigned)below(16) + 1;
            rows[i] = TEC_RANS_UNIFORM + (int32_t)bits;
            symbols[i] = (int32_t)(draw() & (((uint32_t)1 << bits) - 1));
            continue;
        }
        size_t r = below(m->rows);
        rows[i] = (int32_t)r;
        size_t direct = (size_t)(m->starts[r + 1] - m->starts[r]) - 1;
        symbols[i] = (int32_t)(m->minimum[r] + (int64_t)below(direct));
        if (!below(strange)) symbols[i] = (int32_t)((int32_t)draw() >> below(32));
        if (!below(strange * 4)) symbols[i] = below(2) ? INT32_MAX : INT32_MIN;
    }
}

static uint8_t *encode(const model *m, const int32_t *symbols, const int32_t *rows, size_t n,
                       size_t *size)
{
    tec_rans_encoder encoder = {0};
    tec_rans_stream stream;
    size_t where, first = below(n + 1);
    CHECK(!tec_rans_push(&encoder, m->tables, symbols, rows, first, &where));
    if (n) { /* a refused push leaves no trace */
        const int32_t bits = TEC_RANS_UNIFORM + 3, none = TEC_RANS_UNIFORM + (below(2) ? 0 : 17);
        const int32_t bad_row[2] = {bits, below(2) ? (int32_t)m->rows : none};
        const int32_t fits[2] = {7, 0}, too_large[2] = {7, below(2) ? -1 : 8};
        const int32_t good_row[2] = {bits, bits};
        CHECK(tec_rans_push(&encoder, m->tables, fits, bad_row, 2, &where) ==
              TEC_RANS_BAD_ROW && where == 1);
        CHECK(tec_rans_push(&encoder, m->tables, too_large, good_row, 2, &where) ==
              TEC_RANS_BAD_SYMBOL && where == 1);
    }
    CHECK(!tec_rans_push(&encoder, m->tables, symbols + first, rows + first, n - first, &where));
    tec_rans_finish(&encoder, &stream);
    *size = stream.header_size + stream.words_size;
    uint8_t *data = block(*size);
    memcpy(data, stream.header, stream.header_size);
    if (stream.words_size) memcpy(data + stream.header_size, stream.words, stream.words_size);
    tec_rans_encoder_clear(&encoder);
    return data;
}

/* Decodes in random stages into a block of its own; NULL where the stream is refused. */
static int32_t *decode(const model *m, const uint8_t *data, size_t size, const int32_t *rows,
                       size_t n)
{
    tec_rans_decoder decoder;
    uint8_t *copy = block(size);
    int32_t *out = block(n * sizeof *out);
    size_t where, done = 0;
    memcpy(copy, data, size);
    tec_rans_status status = tec_rans_open(&decoder, copy, size);
    while (!status && done < n) {
        size_t step = below(4) ? n - done : below(n - done) + 1;
        status = tec_rans_pull(&decoder, m->tables, rows + done, out + done, step, &where);
        CHECK(!status || (status == TEC_RANS_CORRUPT && where < step));
        done += step;
    }
    if (!status) status = tec_rans_close(&decoder);
    free(copy);
    if (status) {
        free(out);
        return NULL;
    }
    return out;
}

static void attack(const model *m, const uint8_t *data, size_t size, const int32_t *rows,
                   const int32_t *symbols, size_t n)
{
    uint8_t *hostile = block(size + 64);
    for (size_t cut = 0; cut < size && cut < 40; cut++) {
        int32_t *out = decode(m, data, size - 1 - cut, rows, n);
        CHECK(!out || memcmp(out, symbols, n * sizeof *out) || !n);
        free(out);
    }
    for (int i = 0; i < 40; i++) {
        size_t length = size;
        memcpy(hostile, data, size);
        switch (below(4)) {
        case 0: /* one byte, often one that matters */
            if (size) hostile[below(below(2) ? size : size < 18 ? size : 18)] ^= 1 << below(8);
            break;
        case 1: /* longer than it was */
            length += below(64);
            for (size_t j = size; j < length; j++) hostile[j] = (uint8_t)draw();
            break;
        case 2: /* noise behind a header that is fine */
            for (size_t j = 9; j < size; j++) hostile[j] = (uint8_t)draw();
            break;
        default: /* zeros: the states fall to nothing */
            length = 9 + 4 * below(12);
            memset(hostile, 0, size + 64);
            hostile[0] = 0x44;
            hostile[4] = hostile[8] = 0x80;
            break;
        }
        int32_t *out = decode(m, hostile, length, rows, n);
        if (out) { /* one sequence of symbols has one stream: then this is it */
            size_t again_size;
            uint8_t *again = encode(m, out, rows, n, &again_size);
            CHECK(again_size == length && !memcmp(again, hostile, length));
            free(again);
        }
        free(out);
    }
    free(hostile);
}

int main(int argc, char **argv)
{
    const long rounds = argc > 1 ? atol(argv[1]) : 400;
    state = argc > 2 ? (uint64_t)atoll(argv[2]) : 1;
    tec_rans_init();
    for (round_number = 0; round_number < rounds; round_number++) {
        model m;
        new_model(&m);
        const size_t n = below(below(8) ? 60 : 5000);
        int32_t *symbols = block(n * sizeof *symbols), *rows = block(n * sizeof *rows);
        size_t size;
        draw_symbols(&m, symbols, rows, n);
        uint8_t *data = encode(&m, symbols, rows, n, &size);
        int32_t *out = decode(&m, data, size, rows, n);
        CHECK(out && !memcmp(out, symbols, n * sizeof *out));
        free(out);
        attack(&m, data, size, rows, symbols, n);
        free(data);
        free(symbols);
        free(rows);
        damage_model(&m);
        free_model(&m);
    }
    return 0;
}
