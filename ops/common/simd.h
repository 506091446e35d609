// Vectors of L floating-point numbers, with the few operations that the kernels need.
//
// GCC and Clang compile their vector types for whatever the instruction set in force has (SSE2, AVX2, AVX-512, NEON).
// Other compilers get arrays and loops. Everything here has internal linkage: see kernels.h.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__SSE2__) && defined(__GNUC__)
#include <immintrin.h>
#endif

#if defined(__GNUC__)
#define GSASR_INLINE static inline __attribute__((always_inline))
#define GSASR_METHOD inline __attribute__((always_inline))
#define GSASR_NOINLINE static __attribute__((noinline))
// Of loops over an array of vectors that is to lie in registers, before the compiler has put it into memory.
#define GSASR_UNROLL _Pragma("GCC unroll 16")
#else
#define GSASR_INLINE static inline
#define GSASR_METHOD inline
#define GSASR_NOINLINE static
#define GSASR_UNROLL
#endif

namespace gsasr {
namespace {

template <class T>
struct IntegerOf;
template <>
struct IntegerOf<float> {
    using type = int32_t;
    using unsigned_type = uint32_t;
};
template <>
struct IntegerOf<double> {
    using type = int64_t;
    using unsigned_type = uint64_t;
};

template <class T, int L>
struct Lanes {
    using Integer = typename IntegerOf<T>::type;
    using Unsigned = typename IntegerOf<T>::unsigned_type;
#if defined(__GNUC__)
    typedef T Vector __attribute__((vector_size(L * sizeof(T))));
    typedef Integer Mask __attribute__((vector_size(L * sizeof(T))));  // all bits of a lane set or none
    typedef Unsigned Bits __attribute__((vector_size(L * sizeof(T))));
#else
    template <class E>
    struct Array {
        E lane[L];
        E& operator[](int k) { return lane[k]; }
        E operator[](int k) const { return lane[k]; }
#define GSASR_OPERATOR(op)                                                     \
    friend Array operator op(const Array& a, const Array& b) {                 \
        Array r;                                                               \
        for (int k = 0; k < L; ++k) r.lane[k] = static_cast<E>(a[k] op b[k]);  \
        return r;                                                              \
    }
        GSASR_OPERATOR(+)
        GSASR_OPERATOR(-)
        GSASR_OPERATOR(*)
#undef GSASR_OPERATOR
        Array& operator+=(const Array& b) { return *this = *this + b; }
    };
    using Vector = Array<T>;
    using Mask = Array<Integer>;
    using Bits = Array<Unsigned>;
#endif
};

template <class T, int L>
using Vector = typename Lanes<T, L>::Vector;
template <class T, int L>
using Mask = typename Lanes<T, L>::Mask;
template <class T, int L>
using Bits = typename Lanes<T, L>::Bits;

template <class T, int L>
GSASR_INLINE Vector<T, L> broadcast(T value) {
#if defined(__GNUC__)
    return value - Vector<T, L>{};  // one broadcast instruction; a loop over lanes becomes L of them
#else
    Vector<T, L> r;
    for (int k = 0; k < L; ++k) r[k] = value;
    return r;
#endif
}

template <int L, int ROWS, int VECTORS>
GSASR_INLINE void clear(Vector<float, L> (&vectors)[ROWS][VECTORS]) {
    GSASR_UNROLL
    for (int r = 0; r < ROWS; ++r)
        GSASR_UNROLL
        for (int c = 0; c < VECTORS; ++c) vectors[r][c] = Vector<float, L>{};
}

constexpr int kMaxLanes = 16;
alignas(64) constexpr float kRampFloat[kMaxLanes] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
alignas(64) constexpr double kRampDouble[kMaxLanes] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
GSASR_INLINE const float* ramp_of(float) { return kRampFloat; }
GSASR_INLINE const double* ramp_of(double) { return kRampDouble; }

// 0, 1, ..., L - 1
template <class T, int L>
GSASR_INLINE Vector<T, L> ramp() {
    Vector<T, L> r;
    std::memcpy(&r, ramp_of(T()), sizeof r);
    return r;
}

// The first `count` lanes.
template <class T, int L>
GSASR_INLINE Mask<T, L> first_lanes(int count) {
    const Vector<T, L> index = ramp<T, L>();
#if defined(__GNUC__)
    return index < broadcast<T, L>(static_cast<T>(count));
#else
    Mask<T, L> r;
    for (int k = 0; k < L; ++k) r[k] = k < count ? -1 : 0;
    return r;
#endif
}

template <class T, int L>
struct Maximum {
    GSASR_INLINE Vector<T, L> of(const Vector<T, L>& a, const Vector<T, L>& b) {
#if defined(__GNUC__)
        return a > b ? a : b;
#else
        Vector<T, L> r;
        for (int k = 0; k < L; ++k) r[k] = a[k] > b[k] ? a[k] : b[k];
        return r;
#endif
    }
};
// One instruction instead of two.
#if defined(__SSE2__) && defined(__GNUC__)
template <>
struct Maximum<float, 4> {
    GSASR_INLINE Vector<float, 4> of(const Vector<float, 4>& a, const Vector<float, 4>& b) {
        return (Vector<float, 4>)_mm_max_ps((__m128)a, (__m128)b);
    }
};
#endif
#if defined(GSASR_AVX2) || defined(GSASR_AVX512)
template <>
struct Maximum<float, 8> {
    GSASR_INLINE Vector<float, 8> of(const Vector<float, 8>& a, const Vector<float, 8>& b) {
        return (Vector<float, 8>)_mm256_max_ps((__m256)a, (__m256)b);
    }
};
#endif
#if defined(GSASR_AVX512)
template <>
struct Maximum<float, 16> {
    GSASR_INLINE Vector<float, 16> of(const Vector<float, 16>& a, const Vector<float, 16>& b) {
        return (Vector<float, 16>)_mm512_maskz_max_ps(0xffff, (__m512)a, (__m512)b);
    }
};
#endif

// Lanes outside of the mask become 0, whatever they held.
template <class T, int L>
GSASR_INLINE Vector<T, L> keep(const Vector<T, L>& a, const Mask<T, L>& mask) {
#if defined(__GNUC__)
    return (Vector<T, L>)((Mask<T, L>)a & mask);
#else
    Vector<T, L> r;
    for (int k = 0; k < L; ++k) r[k] = mask[k] ? a[k] : T(0);
    return r;
#endif
}

// Lanes of a where those of `sign` are not 0 or less (NaN is not), else 0: the derivative of a ReLU.
template <class T, int L>
GSASR_INLINE Vector<T, L> keep_above_zero(const Vector<T, L>& a, const Vector<T, L>& sign) {
#if defined(__GNUC__)
    return keep<T, L>(a, ~(Mask<T, L>)(sign <= Vector<T, L>{}));
#else
    Vector<T, L> r;
    for (int k = 0; k < L; ++k) r[k] = sign[k] <= 0 ? T(0) : a[k];
    return r;
#endif
}

template <class T, int L>
GSASR_INLINE Vector<T, L> load(const T* from) {
    Vector<T, L> r;
    std::memcpy(&r, from, sizeof r);
    return r;
}

template <class T, int L>
GSASR_INLINE void store(T* to, const Vector<T, L>& a) {
    std::memcpy(to, &a, sizeof a);
}

// The first `count` elements, then zeros; memory beyond is not touched. `mask` = first_lanes(count).
template <class T, int L>
struct Partial {
    GSASR_INLINE Vector<T, L> load(const T* from, int count, const Mask<T, L>&) {
        Vector<T, L> r{};
        // Copies of constant length: a variable one would be a call.
        if (count >= L)
            std::memcpy(&r, from, sizeof r);
        else if (count == 1)
            std::memcpy(&r, from, sizeof(T));
        else if (count == 2)
            std::memcpy(&r, from, (L > 1 ? 2 : 1) * sizeof(T));
        else
            for (int k = 0; k < count; ++k) r[k] = from[k];
        return r;
    }
};
#if defined(GSASR_AVX2) || defined(GSASR_AVX512)
template <>
struct Partial<float, 4> {
    GSASR_INLINE Vector<float, 4> load(const float* from, int, const Mask<float, 4>& mask) {
        return (Vector<float, 4>)_mm_maskload_ps(from, (__m128i)mask);
    }
};
template <>
struct Partial<float, 8> {
    GSASR_INLINE Vector<float, 8> load(const float* from, int, const Mask<float, 8>& mask) {
        return (Vector<float, 8>)_mm256_maskload_ps(from, (__m256i)mask);
    }
};
template <>
struct Partial<double, 4> {
    GSASR_INLINE Vector<double, 4> load(const double* from, int, const Mask<double, 4>& mask) {
        return (Vector<double, 4>)_mm256_maskload_pd(from, (__m256i)mask);
    }
};
#endif
#if defined(GSASR_AVX512)
template <>
struct Partial<float, 16> {
    GSASR_INLINE Vector<float, 16> load(const float* from, int count, const Mask<float, 16>&) {
        return (Vector<float, 16>)_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << (count < 16 ? count : 16)) - 1u), from);
    }
};
template <>
struct Partial<double, 8> {
    GSASR_INLINE Vector<double, 8> load(const double* from, int count, const Mask<double, 8>&) {
        return (Vector<double, 8>)_mm512_maskz_loadu_pd(static_cast<__mmask8>((1u << (count < 8 ? count : 8)) - 1u), from);
    }
};
#endif

// A vector as rows of four lanes.
template <class T, int L>
struct Fours {
    GSASR_INLINE Vector<T, 4> row(const Vector<T, L>& a, int r) {
        T lane[L];
        std::memcpy(lane, &a, sizeof lane);
        return load<T, 4>(lane + 4 * r);
    }
    // Rows that lie `stride` elements apart.
    GSASR_INLINE Vector<T, L> gather(const T* from, int64_t stride) {
        T lane[L];
        for (int r = 0; r < L / 4; ++r) std::memcpy(lane + 4 * r, from + r * stride, 4 * sizeof(T));
        return load<T, L>(lane);
    }
};
#if defined(GSASR_AVX2) || defined(GSASR_AVX512)
template <>
struct Fours<float, 8> {
    GSASR_INLINE Vector<float, 4> row(const Vector<float, 8>& a, int r) {
        return (Vector<float, 4>)(r ? _mm256_extractf128_ps((__m256)a, 1) : _mm256_castps256_ps128((__m256)a));
    }
    GSASR_INLINE Vector<float, 8> gather(const float* from, int64_t stride) {
        return (Vector<float, 8>)_mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(from)),
                                                      _mm_loadu_ps(from + stride), 1);
    }
};
#endif
#if defined(GSASR_AVX512)
template <>
struct Fours<float, 16> {
    GSASR_INLINE Vector<float, 4> row(const Vector<float, 16>& a, int r) {
        const __m512 all = (__m512)a;
        return (Vector<float, 4>)(r == 0   ? _mm512_castps512_ps128(all)
                                  : r == 1 ? _mm512_maskz_extractf32x4_ps(0xf, all, 1)
                                  : r == 2 ? _mm512_maskz_extractf32x4_ps(0xf, all, 2)
                                           : _mm512_maskz_extractf32x4_ps(0xf, all, 3));
    }
    GSASR_INLINE Vector<float, 16> gather(const float* from, int64_t stride) {
        const Vector<float, 8> low = Fours<float, 8>::gather(from, stride);
        const Vector<float, 8> high = Fours<float, 8>::gather(from + 2 * stride, stride);
        const __m512 both = _mm512_castps256_ps512((__m256)low);
        return (Vector<float, 16>)_mm512_maskz_insertf32x8(0xffff, both, (__m256)high, 1);
    }
};
#endif

// The sum over the lanes of each of `count` vectors. Pairwise: short chains, and an order that is the same everywhere.
template <class T, int L, int COUNT>
GSASR_INLINE void sums_of(const Vector<T, L>* vectors, T* sums) {
    T lane[COUNT][L];
    std::memcpy(lane, vectors, sizeof lane);
    for (int half = L / 2; half > 2; half /= 2)
        for (int q = 0; q < COUNT; ++q)
            for (int k = 0; k < half; ++k) lane[q][k] += lane[q][k + half];
    if (L == 2)
        for (int q = 0; q < COUNT; ++q) sums[q] = lane[q][0] + lane[q][1];
    else
        for (int q = 0; q < COUNT; ++q) sums[q] = (lane[q][0] + lane[q][2]) + (lane[q][1] + lane[q][L > 2 ? 3 : 1]);
}

#if defined(GSASR_AVX2) || defined(GSASR_AVX512)
// Three channels and five moments, eight sums, are the common case: by horizontal additions of pairs of vectors.
template <>
inline __attribute__((always_inline)) void sums_of<float, 8, 8>(const Vector<float, 8>* vectors, float* sums) {
    __m256 pairs[4];
    for (int q = 0; q < 4; ++q) pairs[q] = _mm256_hadd_ps((__m256)vectors[2 * q], (__m256)vectors[2 * q + 1]);
    const __m256 low = _mm256_hadd_ps(pairs[0], pairs[1]), high = _mm256_hadd_ps(pairs[2], pairs[3]);
    _mm256_storeu_ps(sums, _mm256_add_ps(_mm256_permute2f128_ps(low, high, 0x20),
                                         _mm256_permute2f128_ps(low, high, 0x31)));
}
#endif

#if defined(GSASR_AVX512)
template <>
inline __attribute__((always_inline)) void sums_of<float, 16, 8>(const Vector<float, 16>* vectors, float* sums) {
    Vector<float, 8> folded[8];
    for (int q = 0; q < 8; ++q) {
        const __m512 all = (__m512)vectors[q];
        const __m256 high = _mm512_maskz_extractf32x8_ps(0xff, all, 1);
        folded[q] = (Vector<float, 8>)_mm256_add_ps(_mm512_castps512_ps256(all), high);
    }
    sums_of<float, 8, 8>(folded, sums);
}
#endif

// p * 2^n, with n in the low bits of `rounded`, by adding n to the exponent. Unsigned, for the bits may run over where a NaN
// among the logits hides the largest: the sum that takes this in is NaN anyway.
template <class T, int L, int MANTISSA>
GSASR_INLINE Vector<T, L> times_power_of_two(const Vector<T, L>& p, const Vector<T, L>& rounded) {
    Bits<T, L> bits, n;
    std::memcpy(&bits, &p, sizeof p);
    std::memcpy(&n, &rounded, sizeof p);
#if defined(__GNUC__)
    bits += n << MANTISSA;
#else
    for (int k = 0; k < L; ++k) bits[k] += n[k] << MANTISSA;
#endif
    Vector<T, L> r;
    std::memcpy(&r, &bits, sizeof r);
    return r;
}

// 2^x for x <= 0. Below the clamp the result is 2^clamp, some 1e-26 in float: small enough to vanish in any sum, and
// large enough to keep products with it from becoming denormal, which would cost ten times the time.
template <class T, int L>
struct Exp2;

template <int L>
struct Exp2<float, L> {
    // exp(-60): the pair is far below half a unit in the last place of anything it is added to.
    static constexpr float kClamp = -86.6f;
    GSASR_INLINE Vector<float, L> call(Vector<float, L> x) {
        x = Maximum<float, L>::of(x, broadcast<float, L>(kClamp));
        // Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits.
        const Vector<float, L> magic = broadcast<float, L>(12582912.0f);
        const Vector<float, L> rounded = x + magic;
        const Vector<float, L> f = x - (rounded - magic);  // -0.5 .. 0.5
        // Minimax polynomial of 2^f on that interval: relative error 9e-8, 1.9e-7 with its rounding in float32.
        // Not Horner's scheme: pairs of terms, a chain of three operations instead of five.
        const Vector<float, L> f2 = f * f;
        const Vector<float, L> high = broadcast<float, L>(1.326472725e-3f) * f + broadcast<float, L>(9.671512688e-3f);
        const Vector<float, L> middle = broadcast<float, L>(5.550733744e-2f) * f + broadcast<float, L>(2.402224208e-1f);
        const Vector<float, L> low = broadcast<float, L>(6.931469776e-1f) * f + broadcast<float, L>(1.0f);
        const Vector<float, L> p = (high * f2 + middle) * f2 + low;
        return times_power_of_two<float, L, 23>(p, rounded);
    }
};

template <int L>
struct Exp2<double, L> {
    static constexpr double kClamp = -1000.0;
    GSASR_INLINE Vector<double, L> call(Vector<double, L> x) {
        x = Maximum<double, L>::of(x, broadcast<double, L>(kClamp));
        const Vector<double, L> magic = broadcast<double, L>(6755399441055744.0);
        const Vector<double, L> rounded = x + magic;
        const Vector<double, L> f = x - (rounded - magic);
        // Taylor's series of exp(f ln 2): its first omitted term is below 2e-17.
        const Vector<double, L> y = f * broadcast<double, L>(0.69314718055994530942);
        Vector<double, L> p = broadcast<double, L>(1.0);
        for (int order = 13; order > 0; --order) p = p * y * broadcast<double, L>(1.0 / order) + broadcast<double, L>(1.0);
        return times_power_of_two<double, L, 52>(p, rounded);
    }
};

}  // namespace
}  // namespace gsasr
