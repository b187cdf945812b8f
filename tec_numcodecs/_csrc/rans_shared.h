/* What the two halves of the rANS core share: the constants of the stream, a hint for a branch. */
#ifndef TEC_RANS_SHARED_H
#define TEC_RANS_SHARED_H

#include "rans.h"

#define INITIAL ((uint64_t)1 << 16) /* the single state before the first coded step */
#define LOWER ((uint64_t)1 << 31)   /* lane states are in [2^31, 2^63) */
#define UPPER ((uint64_t)1 << 63)
#define HEAD_BITS 6 /* an escape's head: one sign bit, five bits of length */

#if defined(__GNUC__) || defined(__clang__)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
#else
#define UNLIKELY(x) (x)
#endif

#endif
