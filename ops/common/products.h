// Products of a few rows with a few vectors of results: the inner loop of all layers.
//
// Included after the instruction set is chosen, for the reasons told in kernels.h.
#pragma once

#include "words.h"

namespace gsasr {
namespace cpu {
namespace GSASR_UNIT {
namespace {

// Rows whose products with kResultVectors vectors of results stay in registers, of which AVX-512 has 32 and the others
// 16.
#if defined(GSASR_AVX512)
constexpr int kProductRows = 12;
#else
constexpr int kProductRows = 6;
#endif
constexpr int kResultVectors = 2;

// Puts row n of a weight, of so many words, to the others: for L results at a time their weights of the first word of
// inputs, then of the second, and so on.
template <int L>
GSASR_INLINE void pack_row(const float* row, int64_t n, int64_t words, float* packed) {
    float* to = packed + n / L * words * L + n % L;
    for (int64_t w = 0; w < words; ++w) std::memcpy(to + w * L, row + w, sizeof *row);
}

// The products of a tile's rows with VECTORS vectors of results: (kProductRows, VECTORS * L). A function of its own, so
// that nothing but the sums needs registers.
template <int L, int VECTORS, class Words>
GSASR_NOINLINE void multiply_tile(const float* weights, int64_t words, const float* x, int64_t stride, float* results) {
    Vector<float, L> sums[kProductRows][VECTORS];
    clear<L>(sums);
    for (int64_t w = 0; w < words; ++w) {
        Vector<float, L> weight[VECTORS];
        for (int c = 0; c < VECTORS; ++c) weight[c] = load<float, L>(weights + (c * words + w) * L);
        for (int r = 0; r < kProductRows; ++r) {
            const Vector<float, L> element = Words::template spread<L>(x + r * stride + w);
            for (int c = 0; c < VECTORS; ++c)
                sums[r][c] = Words::template add_product<L>(sums[r][c], element, weight[c]);
        }
    }
    GSASR_UNROLL
    for (int r = 0; r < kProductRows; ++r)
        GSASR_UNROLL
        for (int c = 0; c < VECTORS; ++c) store<float, L>(results + (r * VECTORS + c) * L, sums[r][c]);
}

}  // namespace
}  // namespace GSASR_UNIT
}  // namespace cpu
}  // namespace gsasr
