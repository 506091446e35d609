// The convolution on CPUs: the problem, what the binding calls, and what the units of all instruction sets share.
#pragma once

#include <cstdint>

#include "../common/bfloat16.h"
#include "../common/instruction_set.h"

namespace gsasr {
namespace cpu {

struct Threads;

// Squares of results that are worked on together, and the numbers per channel that each one's pixels are transformed to.
constexpr int64_t kBlockSquares = 24;
static constexpr int64_t transformed(int64_t side) { return (side + 2) * (side + 2); }

// 3 x 3 convolution of maps of C channels, which are neighbours, with zeros around.
struct Convolution {
    const void* x;  // floats or BFloat16
    bool in_bfloat16;
    int64_t x_image, x_row, x_pixel;  // strides, in elements
    int64_t B, H, W, C;
    PackedWeight packed;
    const float* residual;  // (B, H, W, outs): added to the result; nullptr: none
    void* output;           // (B, H, W, outs)
    bool output_in_bfloat16;
    int64_t outs;
    int64_t side;  // of a square of results: 2, or 4 where operands are rounded to bfloat16

    int64_t square_rows() const { return (H + side - 1) / side; }
    int64_t square_columns() const { return (W + side - 1) / side; }
    int64_t squares() const { return B * square_rows() * square_columns(); }
};

// The gradients of weight and bias, from that of the output.
struct ConvolutionGradient {
    Convolution forward;   // of x: without weight, residual and output
    const void* v_output;  // (B, H, W, outs)
    bool v_in_bfloat16;
    float* v_weight;  // (outs, C, 3, 3)
    float* v_bias;    // (outs)
};

// Squares that are worked on together, and squares whose sums are taken apart from those of others, by one thread.
constexpr int64_t kGradientSquares = 64;
constexpr int64_t kSquaresPart = 8 * kGradientSquares;

// Packs a weight (outs, C, 3, 3) and a bias (outs) for products of floats, or of operands rounded to bfloat16, as
// packed_floats(convolution_words(C, outs, side), outs) floats on a multiple of 64 bytes; all are written.
void pack_convolution(const float* weight, const float* bias, int64_t C, int64_t outs, int64_t side, bool in_bfloat16,
                      float* packed, const Threads& threads);

// Solves the problem, which is packed for products of floats, or of operands rounded to bfloat16. The result is the same,
// bit for bit, whatever the number of threads.
void convolve(const Convolution& problem, bool in_bfloat16, const Threads& threads);

// Solves the problem likewise, by products of floats or of operands rounded to bfloat16.
void differentiate_convolution(const ConvolutionGradient& problem, bool in_bfloat16, const Threads& threads);

// From one of the transformed numbers to the next, in a block: an odd number of cache lines, for those of one square would
// else share few sets of the cache.
static constexpr int64_t spaced(int64_t floats) { return (floats / kRowPadding | 1) * kRowPadding; }

// Floats of the words of a weight; of scratch of one thread, for packing and for a block.
static constexpr int64_t convolution_words(int64_t C, int64_t outs, int64_t side) {
    return transformed(side) * padded(outs) * padded(C);
}
static constexpr int64_t packing_scratch(int64_t C, int64_t side) { return (9 + transformed(side)) * padded(C); }
static inline int64_t convolution_scratch(const Convolution& problem) {
    return transformed(problem.side) *
           (spaced(kBlockSquares * padded(problem.C)) + spaced(kBlockSquares * 2 * kRowPadding));
}

// Floats of a part's sums: the transformed weight's rows, one position after the other, and the bias; and of a thread's
// scratch: the block's words across squares of x and of the gradient.
static inline int64_t position_sums(const Convolution& problem) {
    return whole_tiles(problem.outs) * padded(problem.C);
}
static inline int64_t convolution_sums(const Convolution& problem) {
    return transformed(problem.side) * position_sums(problem) + padded(problem.outs);
}
static inline int64_t convolution_gradient_scratch(const Convolution& problem) {
    return transformed(problem.side) *
           (spaced(kGradientSquares * padded(problem.C)) + spaced(kGradientSquares * padded(problem.outs)));
}

// `words` and `scratch` lie on multiples of 64 bytes.
struct ConvolutionKernels {
    // Outs first to end - 1, of a multiple of kRowPadding each, of what `words` is to hold of a weight (outs, C, 3, 3).
    void (*pack_weight)(const float* weight, int64_t C, int64_t outs, int64_t first, int64_t end, float* words,
                        float* scratch);
    // Squares first to first + kBlockSquares - 1, as far as there are so many.
    void (*apply)(const Convolution& problem, int64_t first, float* scratch);
    // Squares first to end - 1, at most kGradientSquares; adds to the sums.
    void (*differentiate)(const ConvolutionGradient& problem, int64_t first, int64_t end, float* scratch, float* sums);
    // From all sums to the gradients.
    void (*finish_gradient)(const ConvolutionGradient& problem, const float* sums);
};

// Operands of the products are rounded to bfloat16 or not; of squares of 2 or of 4.
struct AllConvolutionKernels {
    ConvolutionKernels of_float, of_bfloat16, of_bfloat16_by_4;
};

GSASR_DECLARE_KERNELS(AllConvolutionKernels, convolution_kernels)

}  // namespace cpu
}  // namespace gsasr
