/* The core on damaged sections and random images, and without memory. Every buffer is a heap block
 * of exactly the size that the core is told.
 *
 *     core_stress FILE ROUNDS SEED
 *
 * The core is compiled with -Dmalloc=short_malloc and the like, so that it can be refused memory.
 */
#include "core_load.h"
#include "xorshift.h"

/* ---- memory ------------------------------------------------------------------------------- */

static long left = -1; /* how many more blocks there are; -1: any number */

static int refused(void)
{
    if (left < 0) return 0;
    if (left) left--;
    return !left;
}

void *short_malloc(size_t size) { return refused() ? NULL : malloc(size); }
void *short_calloc(size_t count, size_t size) { return refused() ? NULL : calloc(count, size); }
void *short_realloc(void *old, size_t size) { return refused() ? NULL : realloc(old, size); }

/* ---- decoding ----------------------------------------------------------------------------- */

/* Decodes a copy of what is given, at any level, any dates. Status. */
static tec_status decode(const bench *b, const section *s, const uint8_t *data, size_t size,
                         int whole, uint32_t *crc)
{
    const tec_coder *coder = b->coder[s->coder];
    const unsigned level = whole || next() % 3 ? 0 : next() % 6;
    const unsigned stop = whole ? 0 : next() % (s->tokens + 1);
    const size_t count = s->dates * tec_coder_bands(coder) * tec_length(s->height, level) *
                         tec_length(s->width, level);
    uint8_t *copy = block(size), *has_data = block(s->dates), *wanted = NULL;
    int32_t *out = block(count * sizeof *out);
    uint32_t symbols = s->symbols;
    tec_error error;
    memcpy(copy, data, size);
    memset(out, 0, count * sizeof *out);
    if (!whole && next() % 3 == 0) {
        wanted = block(s->dates);
        for (size_t t = 0; t < s->dates; t++) wanted[t] = (uint8_t)(next() % 2);
    }
    tec_status status;
    for (int again = 0;; again = 1) {
        status = tec_decode(coder, chunk_of(s), copy, size, symbols, wanted, level, stop, out,
                            has_data, &error);
        if (again || whole || status != TEC_CORRUPT || !error.what ||
            strcmp(error.what, "checksums of symbols"))
            break;
        symbols = (uint32_t)error.found; /* accidents are found by it, malice is not */
    }
    if (status != error.status || (status && !error.what)) abort();
    if (crc) *crc = tec_crc32c(0, out, count * sizeof *out);
    free(copy);
    free(has_data);
    free(wanted);
    free(out);
    return status;
}

static int mutate(const bench *b, const section *s)
{
    size_t size = s->size;
    uint8_t *data = block(size + 16);
    section own = *s;
    memcpy(data, s->data, size);
    for (unsigned i = 1 + next() % 3; i--;) {
        /* Half of the time near the front, where the table is. */
        const size_t at = next() % 2 ? next() % size : next() % (size < 40 ? size : 40);
        switch (next() % 6) {
        case 0: data[at] = (uint8_t)next(); break;
        case 1: data[at] = next() % 2 ? 0 : 255; break;
        case 2: size = at ? at : 1; break;
        case 3:
            if (size >= s->size + 16) break;
            memmove(data + at + 1, data + at, size - at);
            size++;
            break;
        case 4: /* another header */
            own.rate = next() % (TEC_MOST_RATE + 1);
            own.height = 1 + next() % 50;
            own.width = 1 + next() % 50;
            own.dates = 1 + next() % 4;
            break;
        default: data[at] ^= (uint8_t)(1 << next() % 8); break;
        }
    }
    const tec_status status = decode(b, &own, data, size, 0, NULL);
    free(data);
    return status != TEC_OK && status != TEC_CORRUPT;
}

/* ---- encoding ----------------------------------------------------------------------------- */

static void draw(int32_t *x, size_t h, size_t w, const tec_replication *r, int kind)
{
    const size_t f = (size_t[]){1, 2, 3, 6}[kind];
    const uint32_t spread = 1u << next() % 17;
    const int32_t base = (int32_t)(next() % 65536);
    for (size_t y = 0; y < h; y++)
        for (size_t i = 0; i < w; i++) {
            int32_t v = base + (int32_t)(next() % spread) - (int32_t)(spread / 2);
            if (next() % 200 == 0) v = next() % 2 ? 65535 : -32768;
            x[y * w + i] = v < -32768 ? -32768 : v > 65535 ? 65535 : v;
        }
    if (kind) {
        const size_t row = r->row[kind], column = r->column[kind];
        for (size_t y = 0; y < h; y++)
            for (size_t i = 0; i < w; i++) {
                const size_t from_y = (y + row) / f * f, from_x = (i + column) / f * f;
                x[y * w + i] = x[(from_y > row ? from_y - row : 0) * w +
                                 (from_x > column ? from_x - column : 0)];
            }
    }
}

static int encode(const bench *b)
{
    const uint32_t coder = next() % b->coders;
    const size_t bands = tec_coder_bands(b->coder[coder]);
    section s = {.coder = coder, .tokens = 1 + next() % TEC_TOKENS};
    s.dates = 1 + next() % 3;
    s.height = 1 + next() % 45;
    s.width = 1 + next() % 45;
    s.rate = next() % 4 ? next() % (TEC_MOST_RATE + 1) : 0;
    const size_t plane = s.height * s.width, count = s.dates * bands * plane;
    int32_t *samples = block(count * sizeof *samples), *decoded = block(count * sizeof *decoded);
    uint8_t *has_data = block(s.dates), *invalid = block(bands * plane);
    tec_replication *kinds = block(s.dates * sizeof *kinds);
    tec_bytes out = {NULL, 0};
    tec_error error;
    int there = 0;
    memset(decoded, 0, count * sizeof *decoded);
    for (size_t t = 0; t < s.dates; t++) {
        tec_replication r = {{0}, {0, next() % 2, next() % 3, next() % 6},
                             {0, next() % 2, next() % 3, next() % 6}};
        there |= has_data[t] = (uint8_t)(next() % 4 != 0);
        const int plain = next() % 2;
        for (size_t k = 0; k < bands; k++) {
            r.kind[k] = plain ? 0 : (uint8_t)(next() % 4);
            draw(samples + (t * bands + k) * plane, s.height, s.width, &r, r.kind[k]);
        }
        for (size_t i = 0; i < bands * plane; i++) invalid[i] = next() % 16 == 0;
        if (next() % 2)
            tec_find_replication(samples + t * bands * plane, next() % 2 ? invalid : NULL, bands,
                                 s.height, s.width, &r);
        kinds[t] = r;
    }
    const tec_status status = tec_encode(
        b->coder[coder], chunk_of(&s), samples, there ? has_data : NULL,
        next() % 3 ? kinds : NULL, next() % 4 ? TEC_ROTATE : 0, &out, &s.symbols, decoded, &error);
    int failed = status != error.status;
    if (!status && left < 0) {
        s.data = out.data;
        s.size = out.size;
        uint32_t crc;
        failed |= decode(b, &s, s.data, s.size, 1, &crc) != TEC_OK;
        failed |= crc != tec_crc32c(0, decoded, count * sizeof *decoded);
        for (int i = 0; i < 4; i++) failed |= mutate(b, &s);
    } else {
        failed |= status && out.data;
        failed |= status && status != TEC_NO_MEMORY;
    }
    if (failed)
        fprintf(stderr, "coder %u, rate %u, %zu x %zu x %zu: status %d, %s, %zu bytes\n", coder,
                s.rate, s.dates, s.height, s.width, (int)status, error.what, out.size);
    tec_bytes_free(&out);
    free(samples);
    free(decoded);
    free(has_data);
    free(invalid);
    free(kinds);
    return failed;
}

/* ---- without memory ----------------------------------------------------------------------- */

static int starve(const bench *b)
{
    int failed = 0;
    left = 1 + next() % 40;
    const section *s = &b->section[next() % b->sections];
    const tec_status status = decode(b, s, s->data, s->size, 1, NULL);
    failed |= status != TEC_OK && status != TEC_NO_MEMORY && status != TEC_CORRUPT;
    left = 1 + next() % 60;
    failed |= encode(b);
    left = -1;
    return failed;
}

static int starve_model(const bench *b)
{
    const uint32_t i = next() % b->models;
    tec_model *model = NULL;
    tec_error error;
    left = 1 + next() % 500;
    const tec_status status =
        tec_model_new(b->kind[i], b->tensors[i], b->tensor_count[i], &model, &error);
    left = -1;
    if (!status) tec_model_free(model);
    return status != TEC_OK && status != TEC_NO_MEMORY;
}

int main(int argc, char **argv)
{
    bench b;
    const size_t rounds = argc > 2 ? strtoul(argv[2], NULL, 10) : 10;
    if (argc < 2) return 1;
    load(argv[1], &b);
    if (argc > 3) state ^= strtoul(argv[3], NULL, 10) * 0x9E3779B97F4A7C15u;
    int failed = 0;
    for (uint32_t i = 0; i < b.sections && !failed; i++) {
        uint32_t crc;
        const section *s = &b.section[i];
        if (decode(&b, s, s->data, s->size, 1, &crc) || crc != s->decoded) failed = 2;
    }
    for (size_t i = 0; i < rounds && !failed; i++) {
        const section *s = &b.section[i % b.sections];
        if (mutate(&b, s)) failed = 3;
        if (i % 4 == 0 && encode(&b)) failed = 4;
        if (i % 16 == 0 && (starve(&b) || starve_model(&b))) failed = 5;
    }
    drop(&b);
    return failed;
}
