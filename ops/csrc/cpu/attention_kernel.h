// Attention of one window's queries to its keys, for one head, compiled once per instruction set.
//
// Keys, transposed, values and queries are copied first, as floats: they stay in the first or second cache. Then a few
// queries at a time: their logits for all keys (products accumulate in registers, L keys to a vector), the weights
// 2^(logit - largest logit), and the weighted sum of the values (L elements of the head to a vector), divided by the sum
// of the weights. Logits are those of the softmax times log2(e), so that powers of two do.
//
// Included after the instruction set is chosen, for the reasons told in kernels.h.
#include "attention_interface.h"
#include "simd.h"

namespace gsasr {
namespace cpu {
namespace GSASR_UNIT {
namespace {

constexpr float kLog2E = 1.44269504088896340736f;

// Queries that are worked on together: their products with a few vectors of keys or values stay in registers, of which
// AVX-512 has 32 and the others 16.
#if defined(GSASR_AVX512)
constexpr int kQueries = 6;
#else
constexpr int kQueries = 4;
#endif
static_assert(kQueries <= kMaxQueries, "the scratch must hold the queries");
constexpr int kKeyVectors = 3;    // of keys that are worked on together
constexpr int kValueVectors = 2;  // of elements of the values

GSASR_INLINE float to_float(float value) { return value; }
GSASR_INLINE float to_float(BFloat16 value) {
    const uint32_t bits = static_cast<uint32_t>(value.bits) << 16;
    float result;
    std::memcpy(&result, &bits, sizeof result);
    return result;
}

GSASR_INLINE void put(float& to, float value) { to = value; }
// Rounded to the nearest, halves to even.
GSASR_INLINE void put(BFloat16& to, float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    const uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    to.bits = static_cast<uint16_t>(value != value ? 0x7fc0 : rounded);  // rounding could make an infinity of a NaN
}

template <class E>
GSASR_INLINE const E* tokens_of(const Tokens<E>& tokens, int64_t window, int64_t head) {
    return tokens.data + window * tokens.window + head * tokens.head;
}

GSASR_INLINE void fill(float* to, int64_t begin, int64_t end, float value) {
    for (int64_t i = begin; i < end; ++i) to[i] = value;
}

// convert(from[i], to[i]) for all `count` elements, in runs of L, a constant for which compilers use vectors; the last
// run overlaps with the one before it.
template <int L, class From, class To, class F>
GSASR_INLINE void convert_row(const From* from, To* to, int64_t count, const F& convert) {
    if (count < L) {
        for (int64_t i = 0; i < count; ++i) convert(from[i], to[i]);
        return;
    }
    for (int64_t i = 0; i < count; i += L) {
        const int64_t begin = i < count - L ? i : count - L;
        for (int l = 0; l < L; ++l) convert(from[begin + l], to[begin + l]);
    }
}

// The tokens of one head lie far apart, where no processor expects the next one: asked for this many tokens ahead.
constexpr int64_t kAhead = 16;

// Asks for token t, if there is one, to be brought into the cache.
template <class E>
GSASR_INLINE void expect(const E* tokens, int64_t stride, int64_t t, int64_t count, int64_t D) {
#if defined(__GNUC__)
    if (t >= count) return;
    constexpr int64_t kLine = 64 / sizeof(E);
    for (int64_t d = 0; d < D; d += kLine) __builtin_prefetch(tokens + t * stride + d);
    __builtin_prefetch(tokens + t * stride + D - 1);
#endif
}

// The keys as D + 1 rows of padded(S), transposed. What logits start from is the first row: 0, -infinity in the padding.
template <class E>
GSASR_INLINE void copy_keys(const E* k, int64_t stride, int64_t S, int64_t D, float* to) {
    const int64_t row = padded(S);
    fill(to, 0, S, 0.0f);
    fill(to, S, row, -std::numeric_limits<float>::infinity());
    to += row;
    for (int64_t s = 0; s < S; ++s) {
        expect(k, stride, s + kAhead, S, D);
        for (int64_t d = 0; d < D; ++d) to[d * row + s] = to_float(k[s * stride + d]);
    }
    for (int64_t d = 0; d < D; ++d) fill(to + d * row, S, row, 0.0f);
}

// Tokens times `scale` as rows of padded(D).
template <int L, class E>
GSASR_INLINE void copy_tokens(const E* tokens, int64_t stride, int64_t count, int64_t D, float scale, float* to) {
    for (int64_t t = 0; t < count; ++t) {
        float* row = to + t * padded(D);
        expect(tokens, stride, t + kAhead, count, D);
        convert_row<L>(tokens + t * stride, row, D, [scale](E from, float& value) { value = scale * to_float(from); });
        fill(row, D, padded(D), 0.0f);
    }
}

// The largest lane of each vector.
template <int L>
GSASR_INLINE void largest_of(const Vector<float, L>* vectors, float* largest) {
    float lane[kQueries][L];
    std::memcpy(lane, vectors, sizeof lane);
    for (int half = L / 2; half > 0; half /= 2)
        for (int r = 0; r < kQueries; ++r)
            for (int l = 0; l < half; ++l)
                lane[r][l] = lane[r][l] > lane[r][l + half] ? lane[r][l] : lane[r][l + half];
    for (int r = 0; r < kQueries; ++r) largest[r] = lane[r][0];
}

// What one group of queries works with.
struct Group {
    const float* queries[kQueries];  // (D) each, scaled
    const float* keys;               // (D + 1, padded(S)), see copy_keys
    const float* values;             // (S, padded(D))
    const float* bias[kQueries];     // (S) each, nullptr: none
    float* weights;                  // (kQueries, padded(S)), the logits at first
    float* results;                  // (kQueries, padded(D))
    int64_t S, D;
};

// Logits of the keys from s on, VECTORS vectors of them; `largest` takes their maximum in.
template <int L, int VECTORS>
GSASR_INLINE void logits_from(int64_t s, const Group& group, Vector<float, L>* largest) {
    const int64_t row = padded(group.S);
    Vector<float, L> logits[kQueries][VECTORS];
    for (int r = 0; r < kQueries; ++r)
        for (int c = 0; c < VECTORS; ++c) logits[r][c] = load<float, L>(group.keys + s + c * L);
    const float* keys = group.keys + s;
    for (int64_t d = 0; d < group.D; ++d) {
        keys += row;
        Vector<float, L> key[VECTORS];
        for (int c = 0; c < VECTORS; ++c) key[c] = load<float, L>(keys + c * L);
        for (int r = 0; r < kQueries; ++r) {
            const Vector<float, L> query = broadcast<float, L>(group.queries[r][d]);
            for (int c = 0; c < VECTORS; ++c) logits[r][c] += query * key[c];
        }
    }
    for (int c = 0; c < VECTORS; ++c) {
        const int64_t at = s + c * L;
        const int inside = static_cast<int>(group.S - at < L ? group.S - at : L);
        const Mask<float, L> mask = first_lanes<float, L>(inside);
        for (int r = 0; r < kQueries; ++r) {
            if (group.bias[r])
                logits[r][c] += Partial<float, L>::load(group.bias[r] + at, inside, mask) * broadcast<float, L>(kLog2E);
            largest[r] = Maximum<float, L>::of(largest[r], logits[r][c]);
            store<float, L>(group.weights + r * row + at, logits[r][c]);
        }
    }
}

// Logits become weights; returns 1 / their sum for each query.
template <int L>
GSASR_INLINE void weigh(const Group& group, const Vector<float, L>* largest_lanes, float* inverse_sums) {
    const int64_t row = padded(group.S);
    float largest[kQueries];
    largest_of<L>(largest_lanes, largest);
    Vector<float, L> sums[kQueries];
    for (int r = 0; r < kQueries; ++r) {
        float* weights = group.weights + r * row;
        const Vector<float, L> top = broadcast<float, L>(largest[r]);
        Vector<float, L> sum{};
        for (int64_t s = 0; s < group.S; s += L) {
            // A maximum is its second argument where one is NaN. Times 0 that makes the sum NaN, which Exp2 would not.
            const Vector<float, L> x =
                Maximum<float, L>::of(broadcast<float, L>(Exp2<float, L>::kClamp), load<float, L>(weights + s) - top);
            const Vector<float, L> weight = Exp2<float, L>::call(x) + x * broadcast<float, L>(0.0f);
            sum += weight;
            store<float, L>(weights + s, weight);
        }
        sums[r] = sum;
    }
    sums_of<float, L, kQueries>(sums, inverse_sums);
    for (int r = 0; r < kQueries; ++r) inverse_sums[r] = 1.0f / inverse_sums[r];
}

// The weighted sums of the values' elements from d on, VECTORS vectors of them.
template <int L, int VECTORS>
GSASR_INLINE void results_from(int64_t d, const Group& group, const float* inverse_sums) {
    Vector<float, L> totals[kQueries][VECTORS] = {};
    for (int64_t s = 0; s < group.S; ++s) {
        Vector<float, L> value[VECTORS];
        for (int c = 0; c < VECTORS; ++c) value[c] = load<float, L>(group.values + s * padded(group.D) + d + c * L);
        for (int r = 0; r < kQueries; ++r) {
            const Vector<float, L> weight = broadcast<float, L>(group.weights[r * padded(group.S) + s]);
            for (int c = 0; c < VECTORS; ++c) totals[r][c] += weight * value[c];
        }
    }
    for (int r = 0; r < kQueries; ++r)
        for (int c = 0; c < VECTORS; ++c)
            store<float, L>(group.results + r * padded(group.D) + d + c * L,
                            totals[r][c] * broadcast<float, L>(inverse_sums[r]));
}

template <int L>
GSASR_INLINE void attend_group(const Group& group) {
    Vector<float, L> largest[kQueries];
    for (int r = 0; r < kQueries; ++r) largest[r] = broadcast<float, L>(-std::numeric_limits<float>::infinity());
    int64_t s = 0;
    for (; s + (kKeyVectors - 1) * L < group.S; s += kKeyVectors * L) logits_from<L, kKeyVectors>(s, group, largest);
    for (; s < group.S; s += L) logits_from<L, 1>(s, group, largest);
    float inverse_sums[kQueries];
    weigh<L>(group, largest, inverse_sums);
    int64_t d = 0;
    for (; d + (kValueVectors - 1) * L < group.D; d += kValueVectors * L)
        results_from<L, kValueVectors>(d, group, inverse_sums);
    for (; d < group.D; d += L) results_from<L, 1>(d, group, inverse_sums);
}

template <int L, class E>
void attend_head(const Attention<E>& problem, int64_t window, int64_t head, float* scratch) {
    const int64_t T = problem.T, S = problem.S, D = problem.D;
    float* keys = scratch;
    float* weights = keys + (D + 1) * padded(S);
    float* values = weights + kMaxQueries * padded(S);
    float* queries = values + S * padded(D);
    float* results = queries + T * padded(D);
    copy_keys(tokens_of(problem.k, window, head), problem.k.token, S, D, keys);
    copy_tokens<L>(tokens_of(problem.v, window, head), problem.v.token, S, D, 1.0f, values);
    copy_tokens<L>(tokens_of(problem.q, window, head), problem.q.token, T, D, problem.scale * kLog2E, queries);
    Group group = {{}, keys, values, {}, weights, results, S, D};
    E* output = problem.output + (window * T * problem.heads + head) * D;
    for (int64_t first = 0; first < T; first += kQueries) {
        for (int r = 0; r < kQueries; ++r) {
            const int64_t t = first + r < T ? first + r : T - 1;  // the last one again, rather than fewer
            group.queries[r] = queries + t * padded(D);
            if (problem.bias) group.bias[r] = problem.bias + (head * T + t) * S;
        }
        attend_group<L>(group);
        for (int64_t t = first; t < T && t < first + kQueries; ++t)
            convert_row<L>(results + (t - first) * padded(D), output + t * problem.heads * D, D,
                           [](float result, E& to) { put(to, result); });
    }
}

}  // namespace

AttentionKernels attention_kernels() {
    return {attend_head<GSASR_LANES, float>, attend_head<GSASR_LANES, BFloat16>};
}

}  // namespace GSASR_UNIT
}  // namespace cpu
}  // namespace gsasr
