// The kernels for x86-64 machines with AVX-512, chosen at run time.
#if defined(__x86_64__) && defined(__GNUC__)
// Everything from the standard library comes before the instruction set is raised: its inline functions may be shared
// with other units, which run on older machines.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push( \
    __attribute__((target("avx512f,avx512vl,avx512dq,avx512bw,avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")
#endif
#define GSASR_HAS_FMA
#define GSASR_AVX512
#define GSASR_UNIT avx512
#define GSASR_LANES 16
#include "kernels.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
