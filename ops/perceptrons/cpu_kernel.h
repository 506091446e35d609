// Perceptrons: rows through a few layers, compiled once per instruction set.
//
// A few rows at a time are added to, normalised and copied as words (words.h). Then layer by layer: for a few vectors of
// the layer's results at a time all those rows, a few at a time, whose products accumulate in registers, L results to a
// vector. What is between the layers stays in the first or second cache.
//
// Included after the instruction set is chosen, for the reasons told in common/kernels.h.
#include "../common/products.h"
#include "cpu.h"

namespace gsasr {
namespace cpu {
namespace GSASR_UNIT {
namespace {

static_assert(kBlockRows % kProductRows == 0, "blocks consist of whole tiles");

// What becomes of a row of x before it is multiplied; all rows here are padded.
struct Preparation {
    const float* added;        // nullptr: nothing
    const float* norm_weight;  // nullptr: none
    const float* norm_bias;
    float eps;
    int64_t count;  // of elements
};

template <int L>
GSASR_INLINE float sum_of(const Vector<float, L>& lanes) {
    float sum;
    sums_of<float, L, 1>(&lanes, &sum);
    return sum;
}

// A row of x as operands, with zeros beyond the end. With a normalisation `row` holds the normalised row without weight and
// bias afterwards (of no use beyond the end); returns by what it was multiplied for that.
template <int L, class E, class X>
GSASR_INLINE float prepare_row(const X* x, const Preparation& how, float* row, float* words) {
    const int64_t count = how.count;
    Vector<float, L> sum{};
    for (int64_t i = 0; i < count; i += L) {
        Vector<float, L> values = load_elements<L>(x + i, count - i);
        if (how.added) values += load<float, L>(how.added + i);
        sum += values;
        if (how.norm_weight)
            store<float, L>(row + i, values);
        else
            put_elements<L, E>(words, i, values);
    }
    if (!how.norm_weight) return 1.0f;
    const float inverse_count = 1.0f / static_cast<float>(count);
    const Vector<float, L> mean = broadcast<float, L>(sum_of<L>(sum) * inverse_count);
    Vector<float, L> squares{};
    for (int64_t i = 0; i < count; i += L) {
        Vector<float, L> difference = load<float, L>(row + i) - mean;
        if (count - i < L) difference = keep<float, L>(difference, first_lanes<float, L>(static_cast<int>(count - i)));
        squares += difference * difference;
    }
    const float factor = 1.0f / std::sqrt(sum_of<L>(squares) * inverse_count + how.eps);
    for (int64_t i = 0; i < count; i += L) {  // weight and bias are 0 beyond the end
        const Vector<float, L> normalised = (load<float, L>(row + i) - mean) * broadcast<float, L>(factor);
        store<float, L>(row + i, normalised);
        put_elements<L, E>(words, i,
                           normalised * load<float, L>(how.norm_weight + i) + load<float, L>(how.norm_bias + i));
    }
    return factor;
}

template <int L, class E>
GSASR_INLINE float prepare_row(const Rows& rows, int64_t r, const Preparation& how, float* row, float* words) {
    if (rows.in_bfloat16)
        return prepare_row<L, E>(static_cast<const BFloat16*>(rows.data) + r * rows.stride, how, row, words);
    return prepare_row<L, E>(static_cast<const float*>(rows.data) + r * rows.stride, how, row, words);
}

// Rows of the weight, each as pack_row puts it; zeros beyond the end.
template <int L, class E>
void pack_weight(const Rows& weight, int64_t ins, int64_t outs, int64_t first, int64_t end, float* packed,
                 float* scratch) {
    const int64_t words = words_of<typename WordsOf<E>::Type>(ins);
    const Preparation as_it_is = {nullptr, nullptr, nullptr, 0.0f, ins};
    for (int64_t n = first; n < end; ++n) {
        if (n < outs)
            prepare_row<L, E>(weight, n, as_it_is, nullptr, scratch);
        else
            fill_row(scratch, 0, words, 0.0f);
        pack_row<L>(scratch, n, words, packed);
    }
}

// finish(row, element, values) for each row of the block and each of VECTORS vectors of results, from vector v on.
template <int L, int VECTORS, class Words, class Finish>
GSASR_INLINE void multiply(const Layer& layer, int64_t words, int64_t v, const float* block, int64_t stride,
                           int64_t rows, const Finish& finish) {
    float results[kProductRows * VECTORS * L];
    for (int64_t tile = 0; tile < rows; tile += kProductRows) {
        multiply_tile<L, VECTORS, Words>(layer.packed.words + v * words * L, words, block + tile * stride, stride, results);
        const int64_t last = rows - tile < kProductRows ? rows - tile : kProductRows;
        for (int64_t r = 0; r < last; ++r)
            for (int c = 0; c < VECTORS; ++c) {
                const int64_t element = (v + c) * L;
                finish(tile + r, element,
                       load<float, L>(results + (r * VECTORS + c) * L) + load<float, L>(layer.packed.bias + element));
            }
    }
}

// The layer of `rows` rows of words: finish(row, element, values) for each vector of results, from that element on.
template <int L, class Words, class Finish>
GSASR_INLINE void apply_layer(const Layer& layer, const float* block, int64_t stride, int64_t rows,
                              const Finish& finish) {
    const int64_t words = words_of<Words>(layer.ins), vectors = (layer.outs + L - 1) / L;
    int64_t v = 0;
    for (; v + kResultVectors <= vectors; v += kResultVectors)
        multiply<L, kResultVectors, Words>(layer, words, v, block, stride, rows, finish);
    for (; v < vectors; ++v) multiply<L, 1, Words>(layer, words, v, block, stride, rows, finish);
}

// Where the results of a block go, and what is added to them. Rows of `added` are padded, the others are not.
template <class Y>
struct Results {
    const float* x;             // nullptr: nothing
    const float* const* added;  // of each row, nullptr: nothing; only with x
    const float* residual;      // nullptr: nothing
    Y* output;
    int64_t x_stride, outs;

    template <int L>
    GSASR_METHOD void put(int64_t r, int64_t element, Vector<float, L> values) const {
        const int64_t at = r * outs + element, count = outs - element;
        if (x) {
            values += load_elements<L>(x + r * x_stride + element, count);
            if (added[r]) values += load<float, L>(added[r] + element);
        }
        if (residual) values += load_elements<L>(residual + at, count);
        store_elements<L>(output + at, values, count);
    }
};

// Where hidden results of a block go, as operands of the next layer.
template <class E>
struct Hidden {
    float* to;
    int64_t stride, outs;

    template <int L>
    GSASR_METHOD void put(int64_t r, int64_t element, const Vector<float, L>& values) const {
        // A maximum is its second argument where one is NaN.
        Vector<float, L> hidden = Maximum<float, L>::of(Vector<float, L>{}, values);
        // Beyond the end an infinite input made NaN of weights of 0.
        if (outs - element < L)
            hidden = keep<float, L>(hidden, first_lanes<float, L>(static_cast<int>(outs - element)));
        put_elements<L, E>(to + r * stride, element, hidden);
    }
};

// Asks for what row r needs at the end, and for the row of x a block further, to be brought into the second cache.
GSASR_INLINE void expect_row(const Perceptron& problem, int64_t r) {
#if defined(__GNUC__)
    const int64_t outs = problem.layers[problem.layer_count - 1].outs;
    const int64_t size = problem.output_in_bfloat16 ? sizeof(BFloat16) : sizeof(float);
    const char* output = static_cast<const char*>(problem.output) + r * outs * size;
    for (int64_t byte = 0; byte < outs * size; byte += 64) __builtin_prefetch(output + byte, 1, 2);
    if (problem.residual)
        for (int64_t o = 0; o < outs; o += 16) __builtin_prefetch(problem.residual + r * outs + o, 0, 2);
    if (r + kBlockRows >= problem.n) return;
    const int64_t width = problem.x.in_bfloat16 ? sizeof(BFloat16) : sizeof(float);
    const char* x = static_cast<const char*>(problem.x.data) + (r + kBlockRows) * problem.x.stride * width;
    for (int64_t byte = 0; byte < problem.K * width; byte += 64) __builtin_prefetch(x + byte, 0, 2);
#endif
}

template <int L, class E>
void apply_perceptron(const Perceptron& problem, const PaddedParameters& parameters, int64_t first, float* scratch) {
    using Words = typename WordsOf<E>::Type;
    const int64_t K = problem.K, rows = problem.n - first < kBlockRows ? problem.n - first : kBlockRows;
    const int64_t stride = widest_row(problem) / Words::kElements;
    float *row = scratch, *block = row + widest_row(problem), *next = block + kBlockRows * widest_row(problem);
    const float* added[kBlockRows];
    for (int64_t r = 0; r < rows; ++r) {
        added[r] = parameters.added ? parameters.added + (first + r) / problem.rows_per_added * padded(K) : nullptr;
        expect_row(problem, first + r);
        const Preparation how = {added[r], parameters.norm_weight, parameters.norm_bias, problem.eps, K};
        prepare_row<L, E>(problem.x, first + r, how, row, block + r * stride);
    }
    // The rest of the last tile is computed too, and not used.
    for (int64_t r = rows; r % kProductRows; ++r) fill_row(block + r * stride, 0, stride, 0.0f);
    const int64_t last = problem.layer_count - 1;
    for (int64_t i = 0; i < last; ++i) {
        const Hidden<E> hidden = {next, stride, problem.layers[i].outs};
        apply_layer<L, Words>(problem.layers[i], block, stride, rows,
                              [hidden](int64_t r, int64_t element, const Vector<float, L>& values) {
                                  hidden.template put<L>(r, element, values);
                              });
        float* const spare = block;
        block = next;
        next = spare;
    }
    const Layer& layer = problem.layers[last];
    const auto apply_last = [&](auto* output) {
        using Y = std::remove_pointer_t<decltype(output)>;
        const float* x = static_cast<const float*>(problem.x.data) + first * problem.x.stride;
        const float* residual = problem.residual ? problem.residual + first * layer.outs : nullptr;
        const Results<Y> results = {problem.adds_x ? x : nullptr,  added,           residual,
                                    output + first * layer.outs, problem.x.stride, layer.outs};
        apply_layer<L, Words>(layer, block, stride, rows,
                              [results](int64_t r, int64_t element, const Vector<float, L>& values) {
                                  results.template put<L>(r, element, values);
                              });
    };
    if (problem.output_in_bfloat16)
        apply_last(static_cast<BFloat16*>(problem.output));
    else
        apply_last(static_cast<float*>(problem.output));
}

}  // namespace
}  // namespace GSASR_UNIT
}  // namespace cpu
}  // namespace gsasr
