// Perceptrons of a wide hidden layer and few outputs, in bfloat16, compiled once per instruction set.
//
// A few rows at a time are copied as words (words.h): they stay in the first cache. Then for a few vectors of the
// hidden layer at a time all those rows: products accumulate in registers, L hidden numbers to a vector, and are
// multiplied with the weights of the outputs where they are. The hidden layer is never stored.
//
// Included after the instruction set is chosen, for the reasons told in kernels.h.
#include "perceptron_interface.h"
#include "words.h"

#if defined(__GNUC__)
#define GSASR_UNROLL _Pragma("GCC unroll 8")
#else
#define GSASR_UNROLL
#endif

namespace gsasr {
namespace cpu {
namespace GSASR_UNIT {
namespace {

using HiddenWords = WordsOf<BFloat16>::Type;

// Rows whose products with kHiddenVectors vectors of the hidden layer stay in registers.
#if defined(GSASR_AVX512)
constexpr int kTileRows = 8;
#else
constexpr int kTileRows = 4;
#endif
constexpr int kHiddenVectors = 3;
static_assert(kBlockRows % kTileRows == 0, "blocks consist of whole tiles");

// Row r as words; `rounded` is a spare one.
template <int L>
GSASR_INLINE void copy_row(const Rows& rows, int64_t r, int64_t count, BFloat16* rounded, float* words) {
    if (rows.in_bfloat16)
        return HiddenWords::pack<L>(static_cast<const BFloat16*>(rows.data) + r * rows.stride, count, words);
    convert_row<L>(static_cast<const float*>(rows.data) + r * rows.stride, rounded, count,
                   [](float from, BFloat16& element) { put(element, from); });
    HiddenWords::pack<L>(rounded, count, words);
}

// For L hidden numbers at a time their weights of the first word of inputs, then of the second, ...; zeros beyond N.
template <int L>
void pack_weights(const Perceptron& problem, float* packed, float* scratch) {
    const int64_t words = words_of<HiddenWords>(problem.K);
    float* row = scratch + padded(problem.K);
    for (int64_t n = 0; n < padded(problem.N); ++n) {
        if (n < problem.N)
            copy_row<L>(problem.weight, n, problem.K, reinterpret_cast<BFloat16*>(scratch), row);
        else
            fill_row(row, 0, words, 0.0f);
        float* to = packed + n / L * words * L + n % L;
        for (int64_t w = 0; w < words; ++w) std::memcpy(to + w * L, row + w, sizeof *row);
    }
}

// Adds to the lanes of the block's `sums`, (kBlockRows, outs) of kRowPadding, what VECTORS vectors of the hidden layer
// from vector v on bring. `copied` has the words of kBlockRows rows, of which `rows` rounded up to whole tiles matter.
template <int L, int VECTORS>
GSASR_INLINE void add_hidden(int64_t v, const Perceptron& problem, const PackedWeights& packed, int64_t rows,
                             const float* copied, float* sums) {
    const int64_t words = words_of<HiddenWords>(problem.K), stride = padded(words);
    const float* weights = packed.words + v * words * L;
    for (int64_t tile = 0; tile < rows; tile += kTileRows) {
        const float* x = copied + tile * stride;
        Vector<float, L> hidden[kTileRows][VECTORS] = {};
        for (int64_t w = 0; w < words; ++w) {
            Vector<float, L> weight[VECTORS];
            for (int c = 0; c < VECTORS; ++c) weight[c] = load<float, L>(weights + (c * words + w) * L);
            for (int r = 0; r < kTileRows; ++r) {
                const Vector<float, L> element = HiddenWords::spread<L>(x + r * stride + w);
                for (int c = 0; c < VECTORS; ++c)
                    hidden[r][c] = HiddenWords::add_product<L>(hidden[r][c], element, weight[c]);
            }
        }
        GSASR_UNROLL
        for (int r = 0; r < kTileRows; ++r)
            GSASR_UNROLL
            for (int c = 0; c < VECTORS; ++c)  // a maximum is its second argument where one is NaN
                hidden[r][c] = Maximum<float, L>::of(Vector<float, L>{},
                                                     hidden[r][c] + load<float, L>(packed.bias + (v + c) * L));
        for (int64_t o = 0; o < problem.outs; ++o) {
            const float* out_weight = packed.out_weight + o * padded(problem.N) + v * L;
            GSASR_UNROLL
            for (int r = 0; r < kTileRows; ++r) {
                float* at = sums + ((tile + r) * problem.outs + o) * kRowPadding;
                Vector<float, L> sum = load<float, L>(at);
                GSASR_UNROLL
                for (int c = 0; c < VECTORS; ++c) sum += hidden[r][c] * load<float, L>(out_weight + c * L);
                store<float, L>(at, sum);
            }
        }
    }
}

template <int L>
void apply_perceptron(const Perceptron& problem, const PackedWeights& packed, int64_t first, float* scratch) {
    const int64_t K = problem.K, outs = problem.outs, stride = padded(words_of<HiddenWords>(K));
    const int64_t rows = problem.n - first < kBlockRows ? problem.n - first : kBlockRows;
    float *copied = scratch + padded(K), *sums = copied + kBlockRows * padded(K);
    for (int64_t r = 0; r < kBlockRows; ++r)  // the last one again, rather than fewer
        copy_row<L>(problem.x, first + (r < rows ? r : rows - 1), K, reinterpret_cast<BFloat16*>(scratch),
                    copied + r * stride);
    fill_row(sums, 0, kBlockRows * outs * kRowPadding, 0.0f);
    const int64_t vectors = (problem.N + L - 1) / L;
    int64_t v = 0;
    for (; v + kHiddenVectors <= vectors; v += kHiddenVectors)
        add_hidden<L, kHiddenVectors>(v, problem, packed, rows, copied, sums);
    for (; v < vectors; ++v) add_hidden<L, 1>(v, problem, packed, rows, copied, sums);
    for (int64_t i = 0; i < rows * outs; ++i) {
        const Vector<float, L> lanes = load<float, L>(sums + i * kRowPadding);
        float sum;
        sums_of<float, L, 1>(&lanes, &sum);
        problem.output[first * outs + i] = sum + problem.out_bias[i % outs];
    }
}

}  // namespace

PerceptronKernels perceptron_kernels() { return {pack_weights<GSASR_LANES>, apply_perceptron<GSASR_LANES>}; }

}  // namespace GSASR_UNIT
}  // namespace cpu
}  // namespace gsasr
