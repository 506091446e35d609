// The kernels for x86-64 machines with AVX2 and FMA, chosen at run time.
#if defined(__x86_64__) && defined(__GNUC__)
// Everything from the standard library comes before the instruction set is raised: its inline functions may be shared
// with other units, which run on older machines.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif
#define GSASR_HAS_FMA
#define GSASR_AVX2
#define GSASR_UNIT avx2
#define GSASR_LANES 8
#include "kernels.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
