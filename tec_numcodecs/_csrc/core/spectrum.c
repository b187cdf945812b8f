#include "spectrum.h"

#include <float.h>
#include <math.h>
#include <string.h>

#if defined(FLT_EVAL_METHOD) && FLT_EVAL_METHOD == 2
#error "double arithmetic must round to double: leave the extension out"
#endif

enum { SWEEPS = 10, FULL = TEC_BANDS * TEC_BANDS };

static const double LIFT_UNIT = 16384, ROW_UNIT = 4096, SLOPE_UNIT = 1048576;

/* ---- eigenvectors ------------------------------------------------------------------------- */

/* Two rows (step 1) or columns (step n) turn. */
static void rotate(double *x, double *y, size_t n, size_t step, double c, double s)
{
    for (size_t i = 0; i < n; i++, x += step, y += step) {
        const double a = *x, b = *y;
        *x = c * a - s * b;
        *y = s * a + c * b;
    }
}

/* One Jacobi rotation, which makes a[p, q] zero; v collects them. */
static void annihilate(double *a, double *v, size_t n, size_t p, size_t q)
{
    const double off = a[p * n + q];
    if (off == 0) return; /* c = 1, s = 0: nothing changes */
    const double tau = (a[q * n + q] - a[p * n + p]) / (2 * off);
    const double t = (tau < 0 ? -1.0 : 1.0) / (fabs(tau) + sqrt(tau * tau + 1));
    const double c = 1 / sqrt(t * t + 1), s = t * c;
    rotate(a + p * n, a + q * n, n, 1, c, s);
    rotate(a + p, a + q, n, n, c, s);
    rotate(v + p * n, v + q * n, n, 1, c, s);
}

/* Copies a row, negated if its entry of largest magnitude is negative. */
static void put_positive(double *to, const double *row, size_t n)
{
    size_t peak = 0;
    for (size_t i = 1; i < n; i++)
        if (fabs(row[i]) > fabs(row[peak])) peak = i;
    const int negate = row[peak] < 0;
    for (size_t i = 0; i < n; i++) to[i] = negate ? -row[i] : row[i];
}

void tec_spectrum_eigen(const double *a, size_t n, double *rows)
{
    double m[FULL], v[FULL];
    size_t order[TEC_BANDS];
    memcpy(m, a, n * n * sizeof *m);
    for (size_t i = 0; i < n * n; i++) v[i] = i % (n + 1) ? 0 : 1;
    for (int sweep = 0; sweep < SWEEPS; sweep++)
        for (size_t p = 0; p + 1 < n; p++)
            for (size_t q = p + 1; q < n; q++) annihilate(m, v, n, p, q);
    for (size_t k = 0; k < n; k++) { /* by falling eigenvalue; equal ones stay in order */
        size_t at = k;
        for (; at && m[order[at - 1] * (n + 1)] < m[k * (n + 1)]; at--) order[at] = order[at - 1];
        order[at] = k;
    }
    for (size_t k = 0; k < n; k++) put_positive(rows + k * n, v + order[k] * n, n);
}

/* ---- lifting ------------------------------------------------------------------------------ */

typedef struct {
    size_t n;
    double m[FULL], lower[FULL], single[TEC_BANDS];
    int32_t component[TEC_BANDS]; /* of each row of the lifting */
} factors;

static void exchange_rows(factors *f, size_t i, size_t j)
{
    const size_t n = f->n;
    const int32_t held = f->component[i];
    if (i == j) return;
    f->component[i] = f->component[j];
    f->component[j] = held;
    for (size_t c = 0; c < n; c++) {
        const double m = f->m[i * n + c], lower = f->lower[i * n + c];
        f->m[i * n + c] = f->m[j * n + c];
        f->m[j * n + c] = m;
        f->lower[i * n + c] = f->lower[j * n + c];
        f->lower[j * n + c] = lower;
    }
}

/* The row from `step` on whose pivot needs the smallest shear to become 1. */
static size_t tamest_row(const factors *f, size_t step, double *shear)
{
    const size_t n = f->n;
    size_t best = step;
    for (size_t i = step; i < n; i++) {
        const double u = f->m[i * n + n - 1];
        const double s = (f->m[i * n + step] - 1) / (fabs(u) < 1e-9 ? 1e-9 : u);
        if (i == step || fabs(s) < fabs(*shear)) {
            *shear = s;
            best = i;
        }
    }
    return best;
}

static void eliminate(factors *f, size_t step)
{
    const size_t n = f->n;
    double shear = 0;
    exchange_rows(f, step, tamest_row(f, step, &shear));
    f->single[step] = shear;
    for (size_t i = 0; i < n; i++) f->m[i * n + step] -= shear * f->m[i * n + n - 1];
    for (size_t i = step + 1; i < n; i++) {
        const double l = f->m[i * n + step] / f->m[step * n + step];
        f->lower[i * n + step] = l;
        for (size_t c = 0; c < n; c++) f->m[i * n + c] -= l * f->m[step * n + c];
    }
}

/* Factors of the rows with columns `last` and n - 1 exchanged. */
static void factor(const double *rows, size_t n, size_t last, factors *f)
{
    *f = (factors){.n = n};
    memcpy(f->m, rows, n * n * sizeof *rows);
    for (size_t i = 0; i < n; i++) {
        f->component[i] = (int32_t)i;
        f->m[i * n + last] = rows[i * n + n - 1];
        f->m[i * n + n - 1] = rows[i * n + last];
    }
    for (size_t step = 0; step + 1 < n; step++) eliminate(f, step);
    /* The last pivot is the determinant, 1 or -1; where it is -1 the component of that row changes
     * its sign, which negates that row of L and leaves U as it is. */
    if (f->m[n * n - 1] < 0)
        for (size_t c = 0; c + 1 < n; c++) f->lower[(n - 1) * n + c] = -f->lower[(n - 1) * n + c];
}

/* Rounds S, U, L to units of 2^-14; returns the largest magnitude. */
static double round_factors(const factors *f, double *lifts)
{
    const size_t n = f->n;
    double peak = 0;
    for (size_t i = 0; i < 3 * n * n; i++) lifts[i] = 0;
    for (size_t i = 0; i + 1 < n; i++) lifts[(n - 1) * n + i] = f->single[i];
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            if (j > i) lifts[n * n + i * n + j] = f->m[i * n + j];
            if (j < i) lifts[2 * n * n + i * n + j] = f->lower[i * n + j];
        }
    for (size_t i = 0; i < 3 * n * n; i++) {
        lifts[i] = rint(lifts[i] * LIFT_UNIT);
        if (fabs(lifts[i]) > peak) peak = fabs(lifts[i]);
    }
    return peak;
}

/* Rounding errors grow with the coefficients, and those depend on which band the single-row factor
 * changes: every band is tried, and the tamest factors are kept. */
static void lift(tec_spectrum *s)
{
    const size_t n = s->n;
    double lifts[3 * FULL], tamest = 0;
    factors f;
    for (size_t last = 0; last < n; last++) {
        factor(s->rows, n, last, &f);
        const double peak = round_factors(&f, lifts);
        if (last && !(peak < tamest)) continue;
        tamest = peak;
        for (size_t i = 0; i < 3 * n * n; i++) s->lifts[i] = lifts[i] / LIFT_UNIT;
        for (size_t i = 0; i < n; i++) {
            s->band[i] = (int32_t)(i == last ? n - 1 : i == n - 1 ? last : i);
            s->order[f.component[i]] = (int32_t)i;
        }
    }
}

/* ---- signs -------------------------------------------------------------------------------- */

/* Signs that the lifting gives its components: its determinant is 1, so that one of them may be
 * the negative of its row. What it makes of the rows themselves shows which. */
static void true_signs(const tec_spectrum *s, double *sign)
{
    const size_t n = s->n;
    int32_t vectors[FULL], *plane[TEC_BANDS] = {0}; /* place k of the planes is row k */
    const int32_t *source[TEC_BANDS] = {0};
    for (size_t b = 0; b < n; b++) {
        source[b] = plane[b] = vectors + b * n;
        for (size_t k = 0; k < n; k++) plane[b][k] = (int32_t)rint(s->rows[k * n + b] * ROW_UNIT);
    }
    tec_spectrum_forward(s, source, plane, n, 0);
    for (size_t k = 0; k < n; k++) sign[k] = plane[k][k] < 0 ? -1 : 1;
}

void tec_spectrum_make(const double *rows, size_t n, const int32_t *wavelengths,
                       tec_spectrum *out)
{
    double truth[TEC_BANDS];
    out->n = n;
    /* Weights that are no covariances may give anything; orthonormal rows are within [-1, 1]. */
    for (size_t i = 0; i < n * n; i++) {
        const double below = rows[i] < 2 ? rows[i] : 2;
        out->rows[i] = below > -2 ? below : -2;
    }
    lift(out);
    true_signs(out, truth);
    for (size_t k = 0; k < n; k++) {
        double slope = 0; /* whole numbers below 2^38 */
        for (size_t b = 0; b < n; b++)
            slope += rint(SLOPE_UNIT * (truth[k] * out->rows[k * n + b])) * wavelengths[b];
        out->sign[k] = slope < 0 ? -1 : 1;
        for (size_t b = 0; b < n; b++) {
            const double v = truth[k] * out->rows[k * n + b];
            out->whole[k * n + b] = out->sign[k] * rint(ROW_UNIT * v);
        }
    }
}
