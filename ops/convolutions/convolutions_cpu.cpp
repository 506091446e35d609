// The CPU convolutions: share a weight that is packed, and blocks of squares, out to threads.
#include "../common/packed.h"
#include "../common/scratch.h"
#include "cpu.h"

namespace gsasr {
namespace cpu {
namespace {

ConvolutionKernels kernels(bool in_bfloat16, int64_t side) {
    const AllConvolutionKernels all = GSASR_CALL_CHOSEN(convolution_kernels);
    return side == 4 ? all.of_bfloat16_by_4 : in_bfloat16 ? all.of_bfloat16 : all.of_float;
}

}  // namespace

void pack_convolution(const float* weight, const float* bias, int64_t C, int64_t outs, int64_t side, bool in_bfloat16,
                      float* packed, const Threads& threads) {
    float* const words = start_packing(packed_header(PackedKind::convolution, in_bfloat16, C, outs), bias,
                                       convolution_words(C, outs, side), packed);
    const auto pack_weight = kernels(in_bfloat16, side).pack_weight;
    for_each_with_scratch(padded(outs) / kRowPadding, packing_scratch(C, side), threads, [&](int64_t part, float* scratch) {
        pack_weight(weight, C, outs, part * kRowPadding, (part + 1) * kRowPadding, words, scratch);
    });
}

void convolve(const Convolution& problem, bool in_bfloat16, const Threads& threads) {
    const auto apply = kernels(in_bfloat16, problem.side).apply;
    for_each_with_scratch((problem.squares() + kBlockSquares - 1) / kBlockSquares, convolution_scratch(problem),
                          threads, [&](int64_t block, float* scratch) { apply(problem, block * kBlockSquares, scratch); });
}

void differentiate_convolution(const ConvolutionGradient& problem, bool in_bfloat16, const Threads& threads) {
    const ConvolutionKernels chosen = kernels(in_bfloat16, problem.forward.side);
    const int64_t squares = problem.forward.squares(), size = convolution_sums(problem.forward);
    const int64_t parts = std::max<int64_t>(1, (squares + kSquaresPart - 1) / kSquaresPart);
    const std::shared_ptr<float> sums = aligned_floats(parts * size);
    std::fill_n(sums.get(), parts * size, 0.0f);
    for_each_with_scratch(parts, convolution_gradient_scratch(problem.forward), threads, [&](int64_t part, float* scratch) {
        const int64_t end = std::min((part + 1) * kSquaresPart, squares);
        for (int64_t first = part * kSquaresPart; first < end; first += kGradientSquares)
            chosen.differentiate(problem, first, std::min(first + kGradientSquares, end), scratch,
                                 sums.get() + part * size);
    });
    add_parts(sums.get(), parts, size);
    chosen.finish_gradient(problem, sums.get());
}

}  // namespace cpu
}  // namespace gsasr
