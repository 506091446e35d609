// The perceptron on CPUs: the problem, what the binding calls, and what the units of all instruction sets share.
#pragma once

#include <cstdint>
#include <cstring>

#include "../common/bfloat16.h"
#include "../common/instruction_set.h"

namespace gsasr {
namespace cpu {

struct Threads;

// Rows that are worked on together.
constexpr int64_t kBlockRows = 48;

// A matrix of floats or of BFloat16; the elements of a row are neighbours.
struct Rows {
    const void* data;
    bool in_bfloat16;
    int64_t stride;  // of rows, in elements
};

static inline float element(const Rows& rows, int64_t r, int64_t c) {
    const int64_t at = r * rows.stride + c;
    if (!rows.in_bfloat16) return static_cast<const float*>(rows.data)[at];
    const uint32_t bits = static_cast<uint32_t>(static_cast<const BFloat16*>(rows.data)[at].bits) << 16;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

struct Layer {
    int64_t ins, outs;
    PackedWeight packed;
};

// Rows of K elements through layers with a ReLU between.
struct Perceptron {
    Rows x;  // (n, K)
    int64_t n, K;
    const float* added;  // (n / rows_per_added, K): what is added to rows of x first; nullptr: nothing
    int64_t rows_per_added;
    const float* norm_weight;  // (K): of the normalisation of each row after that; nullptr: none
    const float* norm_bias;    // (K)
    float eps;                 // added to the variance
    const Layer* layers;
    int64_t layer_count;    // at least 1
    bool adds_x;            // x + added, to the result; x is of floats then
    const float* residual;  // (n, outs of the last layer): added to the result; nullptr: none
    void* output;           // (n, outs of the last layer)
    bool output_in_bfloat16;
};

// What else is read for every block, rows with zeros beyond the end; nullptr where there is nothing.
struct PaddedParameters {
    const float* added;        // (n / rows_per_added, padded(K))
    const float* norm_weight;  // padded(K)
    const float* norm_bias;
};

// The gradient of a perceptron.
struct PerceptronGradient {
    Perceptron forward;   // without residual and output
    const Layer* turned;  // of each layer its weight, transposed, and a bias of zeros
    Rows v_output;        // (n, outs of the last layer)
    void* v_x;            // (n, K)
    bool v_x_in_bfloat16;
    float* v_parameters;  // of each layer the weight's (outs, ins) and the bias's (outs); norm_weight's and norm_bias's (K)
};

// Rows that are worked on together, and rows whose sums are taken apart from those of others, by one thread.
constexpr int64_t kGradientRows = 96;
constexpr int64_t kGradientPart = 24 * kGradientRows;

// Packs a weight (outs, ins) and a bias (outs) for products of floats, or of operands rounded to bfloat16, as
// packed_floats(linear_words(ins, outs), outs) floats on a multiple of 64 bytes; all are written.
void pack_linear(const Rows& weight, const float* bias, int64_t ins, int64_t outs, bool in_bfloat16, float* packed,
                 const Threads& threads);

// Solves the problem, whose layers are packed for products of floats, or of operands rounded to bfloat16. The result is
// the same, bit for bit, whatever the number of threads.
void apply_perceptron(const Perceptron& problem, bool in_bfloat16, const Threads& threads);

// Solves the problem likewise; what was between the layers is computed again.
void differentiate_perceptron(const PerceptronGradient& problem, bool in_bfloat16, const Threads& threads);

// Floats of a layer's words, and of a thread's scratch: a row, then the block before and after a layer. They do for words
// of one element each, and so for those of more.
static constexpr int64_t linear_words(int64_t ins, int64_t outs) { return padded(outs) * padded(ins); }
static inline int64_t widest_row(const Perceptron& problem) {
    int64_t widest = problem.K;
    for (int64_t i = 0; i < problem.layer_count; ++i)
        widest = widest < problem.layers[i].outs ? problem.layers[i].outs : widest;
    return padded(widest);
}
static inline int64_t perceptron_scratch(const Perceptron& problem) {
    return (1 + 2 * kBlockRows) * widest_row(problem);
}

// Floats of a part's sums: for each layer rows of padded(ins) and the bias, then padded(K) for either of the norm; and of a
// thread's scratch: operands of each layer, gradients before and after one, both across rows, and the rows of the norm.
static inline int64_t layer_sums(const Layer& layer) {
    return whole_tiles(layer.outs) * padded(layer.ins) + padded(layer.outs);
}
static inline int64_t perceptron_sums(const Perceptron& problem) {
    int64_t floats = 2 * padded(problem.K);
    for (int64_t i = 0; i < problem.layer_count; ++i) floats += layer_sums(problem.layers[i]);
    return floats;
}
static inline int64_t gradient_scratch(const Perceptron& problem) {
    return ((problem.layer_count + 4) * widest_row(problem) + 2 * padded(problem.K)) * kGradientRows + kRowPadding;
}

// `words` and `scratch` lie on multiples of 64 bytes.
struct PerceptronKernels {
    // Rows first to end - 1, of a multiple of kRowPadding each, of what `words` is to hold of a weight (outs, ins). The
    // scratch is a row.
    void (*pack_weight)(const Rows& weight, int64_t ins, int64_t outs, int64_t first, int64_t end, float* words,
                        float* scratch);
    // Rows first to first + kBlockRows - 1, as far as there are so many.
    void (*apply)(const Perceptron& problem, const PaddedParameters& parameters, int64_t first, float* scratch);
    // Rows first to first + kGradientRows - 1, as far as there are so many; adds to the sums.
    void (*differentiate)(const PerceptronGradient& problem, const PaddedParameters& parameters, int64_t first,
                          float* scratch, float* sums);
};

// Operands of the products are rounded to bfloat16 or not.
struct AllPerceptronKernels {
    PerceptronKernels of_float, of_bfloat16;
};

GSASR_DECLARE_KERNELS(AllPerceptronKernels, perceptron_kernels)

}  // namespace cpu
}  // namespace gsasr
