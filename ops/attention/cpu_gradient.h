// The gradient of the attention of one window's queries to its keys, for one head, compiled once per instruction set.
//
// With weights P = softmax(logits) and V the gradient of the results: those of the weights are V values^T, those of the
// logits G = P * (V values^T - the sum over keys of P * V values^T), and of queries, keys and values G keys, G^T queries and
// P^T V. Weights are computed again; what sums run over lies in words (products.h).
//
// Included after the instruction set is chosen, for the reasons told in common/kernels.h.
#include "cpu_kernel.h"

namespace gsasr {
namespace cpu {
namespace GSASR_UNIT {
namespace {

// Logits and V values^T of one query become its weights and the gradients of its logits.
template <int L>
GSASR_INLINE void differentiate_softmax(float* weights, float* gradients, int64_t S, const Vector<float, L>& largest) {
    Vector<float, L> sum{}, products{};
    float lane[L];
    store<float, L>(lane, largest);
    float top = lane[0];
    for (int l = 1; l < L; ++l) top = lane[l] > top ? lane[l] : top;
    for (int64_t s = 0; s < S; s += L) {
        // As in `weigh`.
        const Vector<float, L> x = Maximum<float, L>::of(broadcast<float, L>(Exp2<float, L>::kClamp),
                                                         load<float, L>(weights + s) - broadcast<float, L>(top));
        const Vector<float, L> weight = Exp2<float, L>::call(x) + x * broadcast<float, L>(0.0f);
        store<float, L>(weights + s, weight);
        sum += weight;
    }
    float total;
    sums_of<float, L, 1>(&sum, &total);
    const Vector<float, L> inverse = broadcast<float, L>(1.0f / total);
    for (int64_t s = 0; s < S; s += L) {
        const Vector<float, L> weight = load<float, L>(weights + s) * inverse;
        store<float, L>(weights + s, weight);
        products += weight * load<float, L>(gradients + s);
    }
    float mean_lane;
    sums_of<float, L, 1>(&products, &mean_lane);
    const Vector<float, L> mean = broadcast<float, L>(mean_lane);
    for (int64_t s = 0; s < S; s += L)
        store<float, L>(gradients + s, load<float, L>(weights + s) * (load<float, L>(gradients + s) - mean));
}

// Adds rows of padded(D), times a factor, to those of the tokens of one window and head.
template <int L>
GSASR_INLINE void add_to_tokens(const float* rows, int64_t count, int64_t D, float factor, const int64_t* numbers,
                                int64_t window, int64_t heads, int64_t head, float* to) {
    for (int64_t t = 0; t < count; ++t) {
        const int64_t token = numbers ? numbers[window * count + t] : window * count + t;
        float* const at = to + (token * heads + head) * D;
        for (int64_t d = 0; d < D; d += L)
            store_elements<L>(at + d,
                              load_elements<L>(at + d, D - d) +
                                  load<float, L>(rows + t * padded(D) + d) * broadcast<float, L>(factor),
                              D - d);
    }
}

template <int L, class E>
void differentiate_head(const AttentionGradient<E>& problem, int64_t window, int64_t head, float* scratch) {
    using Words = typename WordsOf<E>::Type;
    const Attention<E>& forward = problem.forward;
    const int64_t T = forward.T, S = forward.S, D = forward.D, row = padded(S), width = padded(D);
    float *const keys = scratch, *const values = keys + (D + 1) * row;
    float *const logits = values + (D + 1) * row, *const products = logits + kMaxQueries * row;
    float *const queries = products + kMaxQueries * row, *const v_results = queries + T * width;
    float *const queries_across = v_results + T * width, *const v_results_across = queries_across + T * width;
    float *const keys_across = v_results_across + T * width, *const spare = keys_across + S * width;
    float* const v_logits = spare + 2 * width;  // words of each query
    float *const weights = v_logits + whole_tiles(T) * row, *const weights_across = weights + T * row;
    float* const v_logits_across = weights_across + T * row + kRowPadding;
    float* const v_q = v_logits_across + T * row + kRowPadding;
    float *const v_k = v_q + whole_tiles(T) * width, *const v_v = v_k + whole_tiles(S) * width;

    const int64_t *const own = forward.q.numbers, *const others = forward.k.numbers;
    const auto source = [=](const Tokens<E>& tokens, int64_t count) {
        const int64_t* numbers = tokens.numbers ? tokens.numbers + window * count : nullptr;
        return Source<E>{tokens_of(tokens, window, head), tokens.token, numbers, count, D, nullptr, spare};
    };
    const int64_t token = forward.heads * D;
    const Tokens<E> results = {problem.v_output, own ? 0 : T * token, D, token, own};
    copy_keys<L>(source(forward.k, S), spare + width, keys);
    copy_keys<L>(source(forward.v, S), spare + width, values);
    fill_row(values, 0, row, 0.0f);
    copy_queries<L>(source(forward.q, T), queries);
    copy_queries<L>(source(results, T), v_results);
    copy_values<L>(source(forward.q, T), queries_across);
    copy_values<L>(source(results, T), v_results_across);
    copy_values<L>(source(forward.k, S), keys_across);

    Group group = {{}, keys, nullptr, {}, forward.scale * kLog2E, logits, nullptr, S, D};
    Group v_group = {{}, values, nullptr, {}, 1.0f, products, nullptr, S, D};
    float* const v_bias = problem.v_bias ? problem.v_bias + head * T * S : nullptr;
    constexpr int kElements = Words::kElements;
    for (int64_t first = 0; first < T; first += kQueries) {
        for (int r = 0; r < kQueries; ++r) {
            const int64_t t = first + r < T ? first + r : T - 1;  // the last one again, rather than fewer
            group.queries[r] = queries + t * width;
            v_group.queries[r] = v_results + t * width;
            if (forward.bias) group.bias[r] = forward.bias + (head * T + t) * S;
        }
        Vector<float, L> largest[kQueries], of_no_use[kQueries];
        logits_of<L, Words>(group, largest);
        logits_of<L, Words>(v_group, of_no_use);
        for (int64_t t = first; t < T && t < first + kQueries; ++t) {
            const int64_t r = t - first;
            differentiate_softmax<L>(logits + r * row, products + r * row, S, largest[r]);
            for (int64_t s = 0; s < S; s += L) {
                const Vector<float, L> gradient = load<float, L>(products + r * row + s);
                store<float, L>(weights + t * row + s, load<float, L>(logits + r * row + s));
                put_elements<L, E>(v_logits + t * row, s, gradient);
                if (v_bias) {
                    float* const at = v_bias + t * S + s;
                    store_elements<L>(at, load_elements<L>(at, S - s) + gradient, S - s);
                }
            }
        }
    }
    pack_rows_across<L, E>(reinterpret_cast<const Stored<E>*>(v_logits), row * kElements, T, S, v_logits_across);
    pack_rows_across<L, E>(weights, row, T, S, weights_across);
    fill_row(v_q, 0, (whole_tiles(T) + 2 * whole_tiles(S)) * width, 0.0f);
    add_products<L, Words>(v_logits, row, 1, T, keys_across, width, D, words_of<Words>(S), v_q);
    add_products<L, Words>(v_logits_across, 1, row, S, queries_across, width, D, words_of<Words>(T), v_k);
    add_products<L, Words>(weights_across, 1, row, S, v_results_across, width, D, words_of<Words>(T), v_v);
    add_to_tokens<L>(v_q, T, D, forward.scale, own, window, forward.heads, head, problem.v_q);
    add_to_tokens<L>(v_k, S, D, forward.scale, others, window, forward.heads, head, problem.v_k);
    add_to_tokens<L>(v_v, S, D, 1.0f, others, window, forward.heads, head, problem.v_v);
}

}  // namespace

AttentionKernels attention_kernels() {
    return {attend_head<GSASR_LANES, float>, attend_head<GSASR_LANES, BFloat16>, differentiate_head<GSASR_LANES, float>,
            differentiate_head<GSASR_LANES, BFloat16>};
}

}  // namespace GSASR_UNIT
}  // namespace cpu
}  // namespace gsasr
