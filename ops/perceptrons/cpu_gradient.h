// The gradient of a perceptron: a few rows forward again, then back layer by layer, all in the second cache.
//
// The products of gradients and weights are those of layers with transposed weights. Those of gradients and inputs, which
// are the gradients of weights, are sums over rows: of both, words across rows (products.h) are made first.
//
// Included after the instruction set is chosen, for the reasons told in common/kernels.h.
#include "cpu_kernel.h"

namespace gsasr {
namespace cpu {
namespace GSASR_UNIT {
namespace {

static_assert(kGradientRows % kProductRows == 0, "blocks consist of whole tiles");

// Adds the sums over the rows of gradients `v` times inputs, and of the gradients, as layer_sums has them. The two others
// are spare.
template <int L, class E>
GSASR_INLINE void add_layer_sums(const Layer& layer, const float* v, const float* inputs, int64_t row, int64_t rows,
                                 float* v_across, float* inputs_across, float* sums) {
    using Words = typename WordsOf<E>::Type;
    const auto* const v_elements = reinterpret_cast<const Stored<E>*>(v);
    pack_rows_across<L, E>(v_elements, row, rows, layer.outs, v_across);
    pack_rows_across<L, E>(reinterpret_cast<const Stored<E>*>(inputs), row, rows, layer.ins, inputs_across);
    add_products<L, Words>(v_across, 1, padded(layer.outs), layer.outs, inputs_across, padded(layer.ins), layer.ins,
                           words_of<Words>(rows), sums);
    float* const bias = sums + whole_tiles(layer.outs) * padded(layer.ins);
    for (int64_t c = 0; c < layer.outs; c += L) {
        Vector<float, L> sum = load<float, L>(bias + c);
        for (int64_t r = 0; r < rows; ++r) sum += load_elements<L>(v_elements + r * row + c, L);
        store<float, L>(bias + c, sum);
    }
}

// A row of the gradient of x, from that of what the first layer reads. `normalised` and `factor`: see prepare_row.
template <int L, class V, class X>
GSASR_INLINE void finish_row(const PerceptronGradient& problem, const PaddedParameters& parameters, float* v,
                             const float* normalised, float factor, const V* v_output, float* norm_sums, X* v_x) {
    const int64_t K = problem.forward.K;
    Vector<float, L> mean{}, slope = mean;
    if (parameters.norm_weight) {
        Vector<float, L> sum{}, products{};
        for (int64_t i = 0; i < K; i += L) {
            const Vector<float, L> gradient = load<float, L>(v + i), x = load<float, L>(normalised + i);
            float *const weight = norm_sums + i, *const bias = norm_sums + padded(K) + i;
            store<float, L>(weight, load<float, L>(weight) + gradient * x);
            store<float, L>(bias, load<float, L>(bias) + gradient);
            const Vector<float, L> weighted = gradient * load<float, L>(parameters.norm_weight + i);
            store<float, L>(v + i, weighted);
            sum += weighted;
            products += weighted * x;
        }
        const float inverse_count = 1.0f / static_cast<float>(K);
        mean = broadcast<float, L>(sum_of<L>(sum) * inverse_count);
        slope = broadcast<float, L>(sum_of<L>(products) * inverse_count);
    }
    for (int64_t i = 0; i < K; i += L) {
        Vector<float, L> gradient = load<float, L>(v + i);
        if (parameters.norm_weight)
            gradient = (gradient - mean - load<float, L>(normalised + i) * slope) * broadcast<float, L>(factor);
        if (problem.forward.adds_x) gradient += load_elements<L>(v_output + i, K - i);
        store_elements<L>(v_x + i, gradient, K - i);
    }
}

template <int L, class V, class X>
GSASR_INLINE void finish_rows(const PerceptronGradient& problem, const PaddedParameters& parameters, int64_t first,
                              int64_t rows, float* v, const float* normalised, const float* factors, float* norm_sums) {
    const int64_t K = problem.forward.K;
    for (int64_t r = 0; r < rows; ++r)
        finish_row<L>(problem, parameters, v + r * padded(K), normalised + r * padded(K), factors[r],
                      static_cast<const V*>(problem.v_output.data) + (first + r) * problem.v_output.stride, norm_sums,
                      static_cast<X*>(problem.v_x) + (first + r) * K);
}

template <int L, class E>
void differentiate_perceptron(const PerceptronGradient& problem, const PaddedParameters& parameters, int64_t first,
                              float* scratch, float* sums) {
    using Words = typename WordsOf<E>::Type;
    const Perceptron& forward = problem.forward;
    const int64_t K = forward.K, count = forward.layer_count, row = widest_row(forward), size = kGradientRows * row;
    const int64_t rows = forward.n - first < kGradientRows ? forward.n - first : kGradientRows;
    const int64_t stride = row / Words::kElements;
    float *const inputs = scratch, *v = inputs + count * size, *next = v + size;
    float *const inputs_across = next + size, *const v_across = inputs_across + size;
    float *const normalised = v_across + size + kRowPadding, *const v_first = normalised + kGradientRows * padded(K);
    float factors[kGradientRows];
    for (int64_t r = 0; r < rows; ++r) {
        const float* added =
            parameters.added ? parameters.added + (first + r) / forward.rows_per_added * padded(K) : nullptr;
        const Preparation how = {added, parameters.norm_weight, parameters.norm_bias, forward.eps, K};
        factors[r] = prepare_row<L, E>(forward.x, first + r, how, normalised + r * padded(K), inputs + r * stride);
    }
    for (int64_t i = 0; i + 1 < count; ++i) {
        const Hidden<E> hidden = {inputs + (i + 1) * size, stride, forward.layers[i].outs};
        apply_layer<L, Words>(forward.layers[i], inputs + i * size, stride, rows,
                              [hidden](int64_t r, int64_t element, const Vector<float, L>& values) {
                                  hidden.template put<L>(r, element, values);
                              });
    }
    const Preparation as_it_is = {nullptr, nullptr, nullptr, 0.0f, forward.layers[count - 1].outs};
    for (int64_t r = 0; r < rows; ++r) prepare_row<L, E>(problem.v_output, first + r, as_it_is, nullptr, v + r * stride);
    float* const norm_sums = sums + perceptron_sums(forward) - 2 * padded(K);
    float* layer_end = norm_sums;
    for (int64_t i = count - 1; i >= 0; --i) {
        layer_end -= layer_sums(forward.layers[i]);
        const float* const input = inputs + i * size;
        add_layer_sums<L, E>(forward.layers[i], v, input, row, rows, v_across, inputs_across, layer_end);
        if (i == 0) {
            apply_layer<L, Words>(problem.turned[0], v, stride, rows,
                                  [v_first, K](int64_t r, int64_t element, const Vector<float, L>& values) {
                                      store<float, L>(v_first + r * padded(K) + element, values);
                                  });
            continue;
        }
        const auto* const hidden = reinterpret_cast<const Stored<E>*>(input);
        apply_layer<L, Words>(problem.turned[i], v, stride, rows,
                              [next, stride, hidden, row](int64_t r, int64_t element, const Vector<float, L>& values) {
                                  const Vector<float, L> sign = load_elements<L>(hidden + r * row + element, L);
                                  put_elements<L, E>(next + r * stride, element, keep_above_zero<float, L>(values, sign));
                              });
        float* const spare = v;
        v = next;
        next = spare;
    }
    const auto finish = [&](auto v_element, auto x_element) {
        finish_rows<L, decltype(v_element), decltype(x_element)>(problem, parameters, first, rows, v_first, normalised,
                                                                 factors, norm_sums);
    };
    if (problem.v_output.in_bfloat16)
        problem.v_x_in_bfloat16 ? finish(BFloat16(), BFloat16()) : finish(BFloat16(), float());
    else
        problem.v_x_in_bfloat16 ? finish(float(), BFloat16()) : finish(float(), float());
}

template <class E>
constexpr PerceptronKernels perceptron_kernels_of() {
    return {pack_weight<GSASR_LANES, E>, apply_perceptron<GSASR_LANES, E>, differentiate_perceptron<GSASR_LANES, E>};
}

}  // namespace

AllPerceptronKernels perceptron_kernels() {
    return {perceptron_kernels_of<float>(), perceptron_kernels_of<BFloat16>()};
}

}  // namespace GSASR_UNIT
}  // namespace cpu
}  // namespace gsasr
