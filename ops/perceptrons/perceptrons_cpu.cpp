// The CPU perceptrons: share rows of a weight that is packed, and blocks of rows, out to threads.
#include "../common/packed.h"
#include "../common/scratch.h"
#include "cpu.h"

namespace gsasr {
namespace cpu {
namespace {

PerceptronKernels kernels(bool in_bfloat16) {
    const AllPerceptronKernels all = GSASR_CALL_CHOSEN(perceptron_kernels);
    return in_bfloat16 ? all.of_bfloat16 : all.of_float;
}

}  // namespace

void pack_linear(const Rows& weight, const float* bias, int64_t ins, int64_t outs, bool in_bfloat16, float* packed,
                 const Threads& threads) {
    float* const words = start_packing(packed_header(PackedKind::linear, in_bfloat16, ins, outs), bias,
                                       linear_words(ins, outs), packed);
    const auto pack_weight = kernels(in_bfloat16).pack_weight;
    for_each_with_scratch(padded(outs) / kRowPadding, padded(ins), threads, [&](int64_t part, float* row) {
        pack_weight(weight, ins, outs, part * kRowPadding, (part + 1) * kRowPadding, words, row);
    });
}

void apply_perceptron(const Perceptron& problem, bool in_bfloat16, const Threads& threads) {
    const int64_t K = problem.K;
    const PaddedRows added(problem.added, problem.n / problem.rows_per_added, K);
    const PaddedRows norm_weight(problem.norm_weight, 1, K), norm_bias(problem.norm_bias, 1, K);
    const PaddedParameters parameters = {added.get(), norm_weight.get(), norm_bias.get()};
    const auto apply = kernels(in_bfloat16).apply;
    for_each_with_scratch((problem.n + kBlockRows - 1) / kBlockRows, perceptron_scratch(problem), threads,
                          [&](int64_t block, float* rows) { apply(problem, parameters, block * kBlockRows, rows); });
}

void differentiate_perceptron(const PerceptronGradient& problem, bool in_bfloat16, const Threads& threads) {
    const Perceptron& forward = problem.forward;
    const int64_t K = forward.K, size = perceptron_sums(forward);
    const PaddedRows added(forward.added, forward.n / forward.rows_per_added, K);
    const PaddedRows norm_weight(forward.norm_weight, 1, K), norm_bias(forward.norm_bias, 1, K);
    const PaddedParameters parameters = {added.get(), norm_weight.get(), norm_bias.get()};
    const auto differentiate = kernels(in_bfloat16).differentiate;
    const int64_t parts = std::max<int64_t>(1, (forward.n + kGradientPart - 1) / kGradientPart);
    const std::shared_ptr<float> sums = aligned_floats(parts * size);
    std::fill_n(sums.get(), parts * size, 0.0f);
    for_each_with_scratch(parts, gradient_scratch(forward), threads, [&](int64_t part, float* scratch) {
        const int64_t end = std::min((part + 1) * kGradientPart, forward.n);
        for (int64_t first = part * kGradientPart; first < end; first += kGradientRows)
            differentiate(problem, parameters, first, scratch, sums.get() + part * size);
    });
    add_parts(sums.get(), parts, size);
    const float* from = sums.get();
    float* to = problem.v_parameters;
    for (int64_t i = 0; i < forward.layer_count; ++i) {
        const Layer& layer = forward.layers[i];
        for (int64_t o = 0; o < layer.outs; ++o) to = std::copy_n(from + o * padded(layer.ins), layer.ins, to);
        from += whole_tiles(layer.outs) * padded(layer.ins);
        to = std::copy_n(from, layer.outs, to);
        from += padded(layer.outs);
    }
    if (!forward.norm_weight) return;
    to = std::copy_n(from, K, to);
    std::copy_n(from + padded(K), K, to);
}

}  // namespace cpu
}  // namespace gsasr
