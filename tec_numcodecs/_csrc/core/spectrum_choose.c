#include <math.h>
#include <stdlib.h>

#include "rotation_weights.h"
#include "spectrum.h"
#include "spectrum_cost.h"

/* Pairs whose exact gain is looked at before each rotation; entries that the first samples leave.
 * These samples are one in SPREAD, or more, so that FIRST or more remain. */
enum { TRIES = 10, FINALISTS = 4, FIRST = 512, SPREAD = 4 };
enum { ALIGNMENT = 64 }; /* of rows, for the widest vectors */

/* Bits that a rotation is taken to cost beside its pair, when it is chosen. */
static const double OWN_BITS = 3.8;
static const double LARGEST_ANGLE = 0.92729521800161224; /* 2 artan(1/2) */
static const double NATS = 1.4426950408889634;

/* Of a pair of rows: what a quadratic model says, and the best rotation, if it was tried. */
typedef struct {
    double angle, guess, bits, gain;
    int known;
    tec_rotation best;
} pair;

/* Samples and what the entry in hand makes of them; rows are `stride` apart. The first `few`
 * samples, which are spread over all, are what ranks entries and pairs. */
typedef struct {
    size_t n, count, few, stride;
    double each, full; /* coefficients for a sample; for one of the first ones */
    void *memory;
    float *x, *y, *w;
    double cost[TEC_BANDS], own[TEC_BANDS];
    pair pairs[TEC_BANDS][TEC_BANDS]; /* [p][q], p < q */
} search;

/* ---- samples ------------------------------------------------------------------------------ */

static size_t padded(size_t count) { return (count + TEC_LANES - 1) / TEC_LANES * TEC_LANES; }

/* Every step-th sample first, then those behind them, and so on; zeros, which cost nothing, fill the last lanes. */
static void gather(search *s, const double *x, size_t count, double noise)
{
    const size_t most = count / FIRST < SPREAD ? count / FIRST : SPREAD, step = most ? most : 1;
    const double scale = 1 / sqrt(noise);
    for (size_t i = 0; i < s->n; i++) {
        const double *from = x + i * count;
        float *to = s->x + i * s->stride;
        size_t at = 0;
        for (size_t first = 0; first < step; first++)
            for (size_t k = first; k < count; k += step) to[at++] = (float)(scale * from[k]);
        while (at < s->count) to[at++] = 0;
    }
    const size_t first = (count + step - 1) / step;
    s->few = step > 1 ? first / TEC_LANES * TEC_LANES : s->count;
    s->full = s->few ? s->each * (double)count / (double)(step > 1 ? s->few : count) : 0;
}

static int make(search *s, const double *x, size_t n, size_t count, double each, double noise)
{
    s->n = n;
    s->count = padded(count);
    s->stride = s->count + TEC_LANES;
    s->each = each;
    s->memory = malloc(3 * n * s->stride * sizeof *s->x + ALIGNMENT);
    if (!s->memory) return 0;
    s->x = (float *)((char *)s->memory + ALIGNMENT - (uintptr_t)s->memory % ALIGNMENT);
    s->y = s->x + n * s->stride;
    s->w = s->y + n * s->stride;
    gather(s, x, count, noise);
    return 1;
}

/* Components of the first `count` samples in y; what all of them cost. */
static double project(search *s, const double *rows, size_t count)
{
    double total = 0;
    for (size_t k = 0; k < s->n; k++) {
        float w[TEC_BANDS], *y = s->y + k * s->stride;
        for (size_t b = 0; b < s->n; b++) w[b] = (float)rows[k * s->n + b];
        tec_project(y, w, s->x, s->stride, s->n, count);
        s->cost[k] = tec_cost(y, count);
        total += s->cost[k];
    }
    return total;
}

/* ---- entries ------------------------------------------------------------------------------ */

typedef struct {
    size_t entry;
    double cost;
} candidate;

/* Sorts one more candidate into the best ones so far; returns how many there are. */
static size_t place(candidate *best, size_t count, size_t most, candidate one)
{
    size_t at = count < most ? count : most;
    while (at && one.cost < best[at - 1].cost) at--;
    if (at == most) return count;
    count += count < most;
    for (size_t i = count - 1; i > at; i--) best[i] = best[i - 1];
    best[at] = one;
    return count;
}

/* The best entries, cheapest first: by the first samples, then by all. */
static size_t rank_entries(search *s, const double *book, size_t entries, candidate *best)
{
    candidate first[FINALISTS];
    const size_t size = s->n * s->n;
    size_t count = 0, kept = 0;
    for (size_t e = 0; e < entries; e++)
        count = place(first, count, FINALISTS, (candidate){e, project(s, book + e * size, s->few)});
    for (size_t i = 0; i < count; i++) {
        candidate one = first[i];
        one.cost = project(s, book + one.entry * size, s->count);
        kept = place(best, kept, FINALISTS, one);
    }
    return kept;
}

/* ---- prices ------------------------------------------------------------------------------- */

/* Bits of the i-th of `count` weights. */
static double price(const uint16_t *weights, size_t count, size_t i)
{
    double sum = 0;
    for (size_t k = 0; k < count; k++) sum += weights[k];
    return tec_log2(sum / weights[i]);
}

static double list_bits(const search *s, const tec_rotations *list)
{
    const tec_rotation_weights *w = &tec_rotations_weights;
    double bits = price(w->count, TEC_ROTATIONS + 1, list->count);
    for (size_t i = 0; i < list->count; i++) {
        const tec_rotation r = list->list[i];
        bits += s->pairs[r.p][r.q].bits + price(w->angle, TEC_ANGLES, r.j - 1u) + 1;
    }
    return bits;
}

static void number_pairs(search *s)
{
    const tec_rotation_weights *w = &tec_rotations_weights;
    for (size_t q = 1; q < s->n; q++)
        for (size_t p = 0; p < q; p++) {
            s->pairs[p][q].bits = price(w->q, s->n - 1, q - 1) + price(w->p, q, p);
            s->pairs[p][q].best = (tec_rotation){(uint8_t)q, (uint8_t)p, 1, 1};
        }
}

/* ---- rotations ---------------------------------------------------------------------------- */

/* Angle and gain of a pair by a quadratic model of the cost. */
static void model(search *s, size_t p, size_t q)
{
    pair *own = &s->pairs[p][q];
    double slope, curvature;
    const size_t a = p * s->stride, b = q * s->stride;
    tec_pair_sums(s->y + a, s->w + a, s->y + b, s->w + b, s->few, &slope, &curvature);
    const double newton = curvature - s->own[p] - s->own[q];
    own->known = 0;
    own->angle = own->guess = 0;
    if (!(curvature > 0)) return;
    own->angle = -slope / (newton > 0.15 * curvature ? newton : curvature);
    const double size = fabs(own->angle) < 0.8 ? fabs(own->angle) : 0.8;
    own->guess = s->full * NATS * fabs(slope) * size;
}

/* What follows from the components of a row. */
static void prepare(search *s, size_t row)
{
    const float *y = s->y + row * s->stride;
    float *w = s->w + row * s->stride;
    double slope, twice;
    tec_weigh(y, w, s->few);
    tec_pair_sums(y, w, y, w, s->few, &slope, &twice);
    s->own[row] = twice / 2;
}

static void turn_of(tec_rotation r, float *c, float *s)
{
    const double t = ldexp(1, -r.j);
    *c = (float)((1 - t * t) / (1 + t * t));
    *s = (float)(r.sign * (2 * t / (1 + t * t)));
}

/* The exact gain of the best of three angles around that of the model. */
static void try_angles(search *s, pair *own)
{
    const tec_rotation r = own->best;
    const float *a = s->y + r.p * s->stride, *b = s->y + r.q * s->stride;
    double size = fabs(own->angle), least = 0;
    float c, d;
    size = size < 1e-6 ? 1e-6 : size > 0.95 ? 0.95 : size;
    const double j0 = tec_log2(LARGEST_ANGLE / size);
    int last = 0;
    for (int k = 0; k < 3; k++) {
        int j = 1 + (int)(k < 2 ? floor(j0) - 1 + k : ceil(j0));
        j = j < 1 ? 1 : j > TEC_ANGLES ? TEC_ANGLES : j;
        if (j == last) continue;
        const tec_rotation tried = {r.q, r.p, (uint8_t)j, own->angle > 0 ? 1 : -1};
        turn_of(tried, &c, &d);
        const double cost = tec_cost_turned(a, b, c, d, s->count);
        if (!last || cost < least) {
            least = cost;
            own->best = tried;
        }
        last = j;
    }
    own->known = 1;
    own->gain = s->each * (s->cost[r.p] + s->cost[r.q] - least);
}

/* The pairs whose guesses may pay for them, up to TRIES, the largest guess first. */
static size_t promising(search *s, pair **best)
{
    size_t count = 0;
    for (size_t p = 0; p < s->n; p++)
        for (size_t q = p + 1; q < s->n; q++) {
            pair *own = &s->pairs[p][q];
            if (3 * own->guess < OWN_BITS + own->bits) continue;
            if (count == TRIES && own->guess <= best[TRIES - 1]->guess) continue;
            size_t at = count < TRIES ? count++ : TRIES - 1;
            for (; at && best[at - 1]->guess < own->guess; at--) best[at] = best[at - 1];
            best[at] = own;
        }
    return count;
}

/* The rotation that saves most, its own bits counted; 0 if none saves anything. */
static int best_rotation(search *s, tec_rotation *best)
{
    pair *order[TRIES];
    const size_t count = promising(s, order);
    double saving = 0;
    for (size_t i = 0; i < count; i++) {
        pair *own = order[i];
        const double bits = OWN_BITS + own->bits;
        if (!own->known) try_angles(s, own);
        if (own->gain - bits <= saving) continue;
        saving = own->gain - bits;
        *best = own->best;
    }
    return saving > 0;
}

static void apply(search *s, tec_rotation r)
{
    const size_t changed[2] = {r.p, r.q};
    float c, d;
    turn_of(r, &c, &d);
    tec_turn(s->y + r.p * s->stride, s->y + r.q * s->stride, c, d, s->count);
    for (int i = 0; i < 2; i++) {
        prepare(s, changed[i]);
        s->cost[changed[i]] = tec_cost(s->y + changed[i] * s->stride, s->count);
    }
    for (size_t k = 0; k < s->n; k++) {
        if (k != r.p) model(s, k < r.p ? k : r.p, k < r.p ? r.p : k);
        if (k != r.q && k != r.p) model(s, k < r.q ? k : r.q, k < r.q ? r.q : k);
    }
}

/* Rotations as long as one pays for itself; what the components cost then. */
static double greedy(search *s, tec_rotations *list)
{
    double total = 0;
    tec_rotation best;
    list->count = 0;
    for (size_t k = 0; k < s->n; k++) prepare(s, k);
    for (size_t p = 0; p < s->n; p++)
        for (size_t q = p + 1; q < s->n; q++) model(s, p, q);
    while (list->count < TEC_ROTATIONS && best_rotation(s, &best)) {
        list->list[list->count++] = best;
        apply(s, best);
    }
    for (size_t k = 0; k < s->n; k++) total += s->each * s->cost[k];
    return total;
}

tec_rans_status tec_spectrum_choose(const double *book, size_t entries, size_t n, const double *x,
                                    size_t count, double each, double noise, int rotate,
                                    size_t bases, size_t *entry, tec_rotations *list)
{
    search s;
    candidate best[FINALISTS];
    tec_rotations found;
    *entry = 0;
    list->count = 0;
    if (!count || entries * n < 2) return TEC_RANS_OK;
    if (!make(&s, x, n, count, each, noise)) return TEC_RANS_NO_MEMORY;
    const size_t ranked = rank_entries(&s, book, entries, best);
    *entry = best[0].entry;
    if (rotate && n > 1) {
        number_pairs(&s);
        double least = each * best[0].cost + list_bits(&s, list);
        for (size_t i = 0; i < ranked && i < bases; i++) {
            project(&s, book + best[i].entry * n * n, s.count);
            const double total = greedy(&s, &found) + list_bits(&s, &found);
            if (total >= least) continue;
            least = total;
            *entry = best[i].entry;
            *list = found;
        }
    }
    free(s.memory);
    return TEC_RANS_OK;
}
