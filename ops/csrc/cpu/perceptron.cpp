// The CPU perceptrons: packs the weights, then shares blocks of rows out to threads.
#include "perceptron.h"

#include <vector>

#include "scratch.h"

namespace gsasr {
namespace cpu {

void apply_perceptron(const Perceptron& problem, bool in_bfloat16, const Threads& threads) {
    const AllPerceptronKernels all = GSASR_CALL_CHOSEN(perceptron_kernels);
    const PerceptronKernels kernels = in_bfloat16 ? all.of_bfloat16 : all.of_float;
    const int64_t scratch = perceptron_scratch(problem), K = problem.K;
    std::vector<std::shared_ptr<float>> words;
    std::vector<PaddedRows> biases;
    std::vector<PackedLayer> layers;
    for (int64_t i = 0; i < problem.layer_count; ++i) {
        const Layer& layer = problem.layers[i];
        words.push_back(aligned_floats(packed_words(layer)));
        biases.emplace_back(layer.bias, 1, layer.outs);
        layers.push_back({words.back().get(), biases.back().get()});
        for_each_with_scratch(padded(layer.outs) / kRowPadding, scratch, threads, [&](int64_t part, float* row) {
            kernels.pack_weight(layer, part * kRowPadding, (part + 1) * kRowPadding, layers.back().words, row);
        });
    }
    const PaddedRows added(problem.added, problem.n / problem.rows_per_added, K);
    const PaddedRows norm_weight(problem.norm_weight, 1, K), norm_bias(problem.norm_bias, 1, K);
    const PackedPerceptron packed = {layers.data(), added.get(), norm_weight.get(), norm_bias.get()};
    for_each_with_scratch((problem.n + kBlockRows - 1) / kBlockRows, scratch, threads,
                          [&](int64_t block, float* rows) { kernels.apply(problem, packed, block * kBlockRows, rows); });
}

}  // namespace cpu
}  // namespace gsasr
