// What the units of the CPU perceptrons share: the problem, and the functions that solve it for a few rows, one pair
// per instruction set.
#pragma once

#include <cstdint>

#include "bfloat16.h"
#include "instruction_set.h"

namespace gsasr {
namespace cpu {

// Rows that are worked on together.
constexpr int64_t kBlockRows = 24;

// A matrix of floats or of BFloat16; the elements of a row are neighbours.
struct Rows {
    const void* data;
    bool in_bfloat16;
    int64_t stride;  // of rows, in elements
};

// Two layers with a ReLU between: n rows of K inputs, N hidden numbers each, few outputs.
struct Perceptron {
    Rows x, weight;           // (n, K), (N, K): rounded to bfloat16, and multiplied with sums in float
    const float* bias;        // (N)
    const float* out_weight;  // (outs, N)
    const float* out_bias;    // (outs)
    int64_t n, K, N, outs;
    float* output;  // (n, outs)
};

// What is read for every row, on multiples of 64 bytes.
struct PackedWeights {
    float* words;       // of the first layer's weight, see pack_weights
    float* bias;        // padded(N), zeros beyond the end, as the rows of
    float* out_weight;  // (outs, padded(N))
};

// Floats of the packed words, and of scratch of one thread.
static constexpr int64_t packed_words(int64_t K, int64_t N) { return padded(N) * padded(K); }
static constexpr int64_t perceptron_scratch(int64_t K, int64_t outs) {
    return (kBlockRows + 1) * padded(K) + kBlockRows * outs * kRowPadding;
}

struct PerceptronKernels {
    // Fills `words`; these and `scratch` lie on multiples of 64 bytes.
    void (*pack_weights)(const Perceptron& problem, float* words, float* scratch);
    // Rows first to first + kBlockRows - 1, as far as there are so many.
    void (*apply)(const Perceptron& problem, const PackedWeights& weights, int64_t first, float* scratch);
};

namespace portable {
PerceptronKernels perceptron_kernels();
}  // namespace portable
#if defined(GSASR_DISPATCH_X86)
namespace avx2 {
PerceptronKernels perceptron_kernels();
}  // namespace avx2
namespace avx512 {
PerceptronKernels perceptron_kernels();
}  // namespace avx512
#endif
#if defined(GSASR_DISPATCH_BF16)
namespace avx512bf16 {
PerceptronKernels perceptron_kernels();
}  // namespace avx512bf16
#endif

}  // namespace cpu
}  // namespace gsasr
