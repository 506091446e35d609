// What dot products are made of: rows of words of 32 bits, and the operation that multiplies two words and adds.
//
// A word is one element as a float, or two neighbouring elements in bfloat16 where the instruction set multiplies those
// (AVX512-BF16). Words lie in arrays of float; what is in them is only copied. Included after the instruction set is
// chosen: see kernels.h.
#pragma once

#include <type_traits>

#include "bfloat16.h"
#include "simd.h"

namespace gsasr {
namespace {

GSASR_INLINE float to_float(float value) { return value; }
GSASR_INLINE float to_float(BFloat16 value) {
    const uint32_t bits = static_cast<uint32_t>(value.bits) << 16;
    float result;
    std::memcpy(&result, &bits, sizeof result);
    return result;
}

GSASR_INLINE void put(float& to, float value) { to = value; }
// Rounded to the nearest, halves to even.
GSASR_INLINE void put(BFloat16& to, float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    const uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    to.bits = static_cast<uint16_t>(value != value ? 0x7fc0 : rounded);  // rounding could make an infinity of a NaN
}

GSASR_INLINE void fill_row(float* to, int64_t begin, int64_t end, float value) {
    for (int64_t i = begin; i < end; ++i) to[i] = value;
}

// convert(from[i], to[i]) for all `count` elements, in runs of L, a constant for which compilers use vectors; the last
// run overlaps with the one before it.
template <int L, class From, class To, class F>
GSASR_INLINE void convert_row(const From* from, To* to, int64_t count, const F& convert) {
    if (count < L) {
        for (int64_t i = 0; i < count; ++i) convert(from[i], to[i]);
        return;
    }
    for (int64_t i = 0; i < count; i += L) {
        const int64_t begin = i < count - L ? i : count - L;
        for (int l = 0; l < L; ++l) convert(from[begin + l], to[begin + l]);
    }
}

struct Floats {
    static constexpr int kElements = 1;  // of a word

    // Elements of a row, to be multiplied with those of another one.
    template <int L, class E>
    GSASR_INLINE void pack(const E* row, int64_t count, float* words) {
        convert_row<L>(row, words, count, [](E from, float& word) { word = to_float(from); });
    }
    // Rows to be summed with weights: word i holds element i of kElements rows, here of one.
    template <int L, class E>
    GSASR_INLINE void pack_across(const E* const* rows, int64_t count, float* words) {
        pack<L>(rows[0], count, words);
    }
    // Puts weights s to s + L - 1 into a row of words, and returns them as they are there. What `row` held from s on
    // may be lost.
    template <int L>
    GSASR_INLINE Vector<float, L> put_weights(float* row, int64_t s, const Vector<float, L>& weights) {
        store<float, L>(row + s, weights);
        return weights;
    }
    template <int L>
    GSASR_INLINE Vector<float, L> spread(const float* word) {
        return broadcast<float, L>(*word);
    }
    // sum + a * b
    template <int L>
    GSASR_INLINE Vector<float, L> add_product(const Vector<float, L>& sum, const Vector<float, L>& a,
                                              const Vector<float, L>& b) {
        return sum + a * b;
    }
};

template <int L>
GSASR_INLINE void put_vector(BFloat16* to, const Vector<float, L>& values) {
    float lane[L];
    store<float, L>(lane, values);
    for (int l = 0; l < L; ++l) put(to[l], lane[l]);
}

#if defined(GSASR_BF16)
template <>
inline __attribute__((always_inline)) void put_vector<16>(BFloat16* to, const Vector<float, 16>& values) {
    const __m256bh rounded = _mm512_cvtneps_pbh((__m512)values);
    std::memcpy(to, &rounded, sizeof rounded);
}

struct Pairs {
    static constexpr int kElements = 2;

    template <int L>
    GSASR_INLINE void pack(const BFloat16* row, int64_t count, float* words) {
        std::memcpy(words, row, static_cast<size_t>(count) * sizeof *row);
        if (count % 2) std::memset(reinterpret_cast<BFloat16*>(words) + count, 0, sizeof *row);
    }
    template <int L>
    GSASR_INLINE void pack_across(const BFloat16* const* rows, int64_t count, float* words) {
        for (int64_t i = 0; i < count; ++i) {
            const uint32_t second = rows[1] ? rows[1][i].bits : 0;
            const uint32_t word = rows[0][i].bits | second << 16;
            std::memcpy(words + i, &word, sizeof word);
        }
    }
    template <int L>
    GSASR_INLINE Vector<float, L> put_weights(float* row, int64_t s, const Vector<float, L>& weights) {
        const __m256i rounded = (__m256i)_mm512_cvtneps_pbh((__m512)weights);
        std::memcpy(reinterpret_cast<BFloat16*>(row) + s, &rounded, sizeof rounded);
        return (Vector<float, L>)_mm512_slli_epi32(_mm512_cvtepu16_epi32(rounded), 16);
    }
    template <int L>
    GSASR_INLINE Vector<float, L> spread(const float* word) {
        int32_t bits;
        std::memcpy(&bits, word, sizeof bits);
        return (Vector<float, L>)_mm512_set1_epi32(bits);
    }
    template <int L>
    GSASR_INLINE Vector<float, L> add_product(const Vector<float, L>& sum, const Vector<float, L>& a,
                                              const Vector<float, L>& b) {
        return (Vector<float, L>)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
    }
};
#endif

// What elements of type E are multiplied as.
template <class E>
struct WordsOf {
    using Type = Floats;
};
#if defined(GSASR_BF16)
template <>
struct WordsOf<BFloat16> {
    using Type = Pairs;
};
#endif

// Elements `at` to at + L - 1 of a row of words that elements of type E are multiplied as, rounded to E. `at` is a
// multiple of L.
template <int L, class E>
GSASR_INLINE void put_elements(float* row, int64_t at, const Vector<float, L>& values) {
    if constexpr (WordsOf<E>::Type::kElements == 2) {
        put_vector<L>(reinterpret_cast<BFloat16*>(row) + at, values);
    } else if constexpr (sizeof(E) == sizeof(float)) {
        store<float, L>(row + at, values);
    } else {
        BFloat16 rounded[L];
        put_vector<L>(rounded, values);
        for (int l = 0; l < L; ++l) row[at + l] = to_float(rounded[l]);
    }
}

// Elements of words of E as they lie in rows: floats, whatever they were rounded to, but where two make a word.
template <class E>
using Stored = std::conditional_t<WordsOf<E>::Type::kElements == 2, E, float>;

// Words of neighbouring rows, for sums over rows: lane i of as many vectors as a word has elements, rounded to E.
template <int L, class E>
GSASR_INLINE void put_across(const Vector<float, L>* rows, float* words) {
#if defined(GSASR_BF16)
    if constexpr (WordsOf<E>::Type::kElements == 2) {
        const __m512i first = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)rows[0]));
        const __m512i second = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)rows[1]));
        store<float, L>(words, (Vector<float, L>)_mm512_or_si512(first, _mm512_slli_epi32(second, 16)));
        return;
    }
#endif
    put_elements<L, E>(words, 0, rows[0]);
}

// The first `count` lanes, to and from elements; lanes beyond are read as 0.
template <int L>
GSASR_INLINE Vector<float, L> load_elements(const float* from, int64_t count) {
    if (count >= L) return load<float, L>(from);
    const int inside = static_cast<int>(count);
    return Partial<float, L>::load(from, inside, first_lanes<float, L>(inside));
}
template <int L>
GSASR_INLINE Vector<float, L> load_elements(const BFloat16* from, int64_t count) {
#if defined(GSASR_BF16)
    if constexpr (L == 16)
        if (count >= L) {
            __m256i bits;
            std::memcpy(&bits, from, sizeof bits);
            return (Vector<float, L>)_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16);
        }
#endif
    float lane[L] = {};
    if (count >= L)
        for (int l = 0; l < L; ++l) lane[l] = to_float(from[l]);
    else
        for (int l = 0; l < count; ++l) lane[l] = to_float(from[l]);
    return load<float, L>(lane);
}
template <int L>
GSASR_INLINE void store_elements(float* to, const Vector<float, L>& values, int64_t count) {
    if (count >= L) return store<float, L>(to, values);
    float lane[L];
    store<float, L>(lane, values);
    for (int l = 0; l < count; ++l) to[l] = lane[l];
}
template <int L>
GSASR_INLINE void store_elements(BFloat16* to, const Vector<float, L>& values, int64_t count) {
    if (count >= L) return put_vector<L>(to, values);
    float lane[L];
    store<float, L>(lane, values);
    for (int l = 0; l < count; ++l) put(to[l], lane[l]);
}

// Words of a row of `elements`.
template <class Words>
GSASR_INLINE int64_t words_of(int64_t elements) {
    return (elements + Words::kElements - 1) / Words::kElements;
}

}  // namespace
}  // namespace gsasr
