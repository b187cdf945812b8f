/* Builds a function several times, for the vector units of different processors, where the
 * compiler and the C library can pick one at run time. Results never depend on the choice. */
#ifndef TEC_SIMD_H
#define TEC_SIMD_H

#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(TEC_ONE_VERSION)
#define TEC_MULTIVERSION __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define TEC_MULTIVERSION
#endif

#endif
