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
constexpr int kSumTile = 8;  // fewer are wasted at the end; more than the latency of a product they must be
#else
constexpr int kProductRows = 6;
constexpr int kSumTile = 4;
#endif
constexpr int kResultVectors = 2;
static_assert(kSumRows % kSumTile == 0, "sums have whole tiles of rows");

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

// Adds to kSumTile rows of VECTORS vectors of sums, over words: word w of row r lies at a + r * a_row + w * a_word, those
// of the vectors at b + w * b_word.
template <int L, int VECTORS, class Words>
GSASR_NOINLINE void add_products_tile(const float* a, int64_t a_row, int64_t a_word, const float* b, int64_t b_word,
                                      int64_t words, float* sums, int64_t sums_row) {
    Vector<float, L> tile[kSumTile][VECTORS];
    GSASR_UNROLL
    for (int r = 0; r < kSumTile; ++r)
        GSASR_UNROLL
        for (int c = 0; c < VECTORS; ++c) tile[r][c] = load<float, L>(sums + r * sums_row + c * L);
    for (int64_t w = 0; w < words; ++w) {
        Vector<float, L> vector[VECTORS];
        for (int c = 0; c < VECTORS; ++c) vector[c] = load<float, L>(b + w * b_word + c * L);
        for (int r = 0; r < kSumTile; ++r) {
            const Vector<float, L> element = Words::template spread<L>(a + r * a_row + w * a_word);
            for (int c = 0; c < VECTORS; ++c)
                tile[r][c] = Words::template add_product<L>(tile[r][c], element, vector[c]);
        }
    }
    GSASR_UNROLL
    for (int r = 0; r < kSumTile; ++r)
        GSASR_UNROLL
        for (int c = 0; c < VECTORS; ++c) store<float, L>(sums + r * sums_row + c * L, tile[r][c]);
}

// The same of all rows and columns: sums has whole_tiles(rows) rows of padded(columns), and a may be read up to the end of
// the last tile; what comes of that is of no use.
template <int L, class Words>
GSASR_INLINE void add_products(const float* a, int64_t a_row, int64_t a_word, int64_t rows, const float* b,
                               int64_t b_word, int64_t columns, int64_t words, float* sums) {
    const int64_t vectors = (columns + L - 1) / L, sums_row = padded(columns);
    for (int64_t v = 0; v < vectors; v += kResultVectors)
        for (int64_t r = 0; r < rows; r += kSumTile) {
            float* const tile = sums + r * sums_row + v * L;
            if (v + kResultVectors <= vectors)
                add_products_tile<L, kResultVectors, Words>(a + r * a_row, a_row, a_word, b + v * L, b_word, words, tile,
                                                            sums_row);
            else
                add_products_tile<L, 1, Words>(a + r * a_row, a_row, a_word, b + v * L, b_word, words, tile, sums_row);
        }
}

// Words across rows of elements, rounded to E: (words of rows, padded(columns)); the rows are padded, those beyond the last
// are zeros.
template <int L, class E, class From>
GSASR_INLINE void pack_rows_across(const From* from, int64_t stride, int64_t rows, int64_t columns, float* to) {
    constexpr int kElements = WordsOf<E>::Type::kElements;
    for (int64_t r = 0; r < rows; r += kElements, to += padded(columns))
        for (int64_t c = 0; c < columns; c += L) {
            Vector<float, L> vectors[kElements] = {};
            for (int i = 0; i < kElements && r + i < rows; ++i)
                vectors[i] = load_elements<L>(from + (r + i) * stride + c, L);
            put_across<L, E>(vectors, to + c);
        }
}

}  // namespace
}  // namespace GSASR_UNIT
}  // namespace cpu
}  // namespace gsasr
