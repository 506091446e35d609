// Attention of one window's queries to its keys, for one head, compiled once per instruction set.
//
// Keys, transposed, values and queries are copied first, as words (words.h): they stay in the first or second cache.
// Then a few queries at a time: their logits for all keys (products accumulate in registers, L keys to a vector), the
// weights 2^(logit - largest logit), and the weighted sum of the values (L elements of the head to a vector), divided
// by the sum of the weights. Logits are those of the softmax times log2(e), so that powers of two do.
//
// Included after the instruction set is chosen, for the reasons told in common/kernels.h.
#include "../common/products.h"
#include "cpu.h"

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

template <class E>
GSASR_INLINE const E* tokens_of(const Tokens<E>& tokens, int64_t window, int64_t head) {
    return tokens.data + window * tokens.window + head * tokens.head;
}

// The tokens of one head lie far apart, where no processor expects the next one: asked for this many tokens ahead.
constexpr int64_t kAhead = 16;

// Channel pairs of a token as complex numbers, times those of `rotation`.
template <class E>
GSASR_INLINE void rotate(const E* token, const float* rotation, int64_t D, E* to) {
    for (int64_t d = 0; d + 1 < D; d += 2) {
        const float a = to_float(token[d]), b = to_float(token[d + 1]);
        put(to[d], a * rotation[d] - b * rotation[d + 1]);
        put(to[d + 1], a * rotation[d + 1] + b * rotation[d]);
    }
}

// What is to be copied of one window and head.
template <class E>
struct Source {
    const E* tokens;
    int64_t stride;          // of tokens, in elements
    const int64_t* numbers;  // of the tokens, nullptr: 0, 1, ...
    int64_t count, D;        // of tokens; elements of each
    const float* rotations;  // (count, D), nullptr: none
    float* spare;            // a row of padded(D)

    GSASR_METHOD const E* token(int64_t t) const { return tokens + (numbers ? numbers[t] : t) * stride; }
    // Asks for token t, if there is one, to be brought into the cache.
    GSASR_METHOD void expect(int64_t t) const {
#if defined(__GNUC__)
        if (t >= count) return;
        constexpr int64_t kLine = 64 / sizeof(E);
        const E* const at = token(t);
        for (int64_t d = 0; d < D; d += kLine) __builtin_prefetch(at + d);
        __builtin_prefetch(at + D - 1);
#endif
    }
};

// Token t as words, rotated.
template <int L, class E>
GSASR_INLINE void copy_token(const Source<E>& source, int64_t t, float* words) {
    const E* token = source.token(t);
    source.expect(t + kAhead);
    if (source.rotations) {
        E* rotated = reinterpret_cast<E*>(source.spare);
        rotate(token, source.rotations + t * source.D, source.D, rotated);
        token = rotated;
    }
    WordsOf<E>::Type::template pack<L>(token, source.D, words);
}

// The keys as rows of padded(S), transposed: word d of all keys, for each d. The first row is what is added to logits:
// 0, -infinity in the padding. `row` is a spare one of padded(D).
template <int L, class E>
GSASR_INLINE void copy_keys(const Source<E>& source, float* row, float* to) {
    const int64_t S = source.count, stride = padded(S), words = words_of<typename WordsOf<E>::Type>(source.D);
    fill_row(to, 0, S, 0.0f);
    fill_row(to, S, stride, -std::numeric_limits<float>::infinity());
    to += stride;
    for (int64_t s = 0; s < S; ++s) {
        copy_token<L>(source, s, row);
        for (int64_t d = 0; d < words; ++d) std::memcpy(to + d * stride + s, row + d, sizeof *row);
    }
    for (int64_t d = 0; d < words; ++d) fill_row(to + d * stride, S, stride, 0.0f);
}

// The queries as rows of padded(D).
template <int L, class E>
GSASR_INLINE void copy_queries(const Source<E>& source, float* to) {
    for (int64_t t = 0; t < source.count; ++t) copy_token<L>(source, t, to + t * padded(source.D));
}

// The values as rows of padded(D), each of as many tokens as a word has elements.
template <int L, class E>
GSASR_INLINE void copy_values(const Source<E>& source, float* to) {
    using Words = typename WordsOf<E>::Type;
    const int64_t D = source.D;
    for (int64_t s = 0; s < source.count; s += Words::kElements, to += padded(D)) {
        const E* rows[Words::kElements] = {};
        for (int64_t i = 0; i < Words::kElements && s + i < source.count; ++i) {
            rows[i] = source.token(s + i);
            source.expect(s + i + kAhead);
        }
        Words::template pack_across<L>(rows, D, to);
        fill_row(to, D, padded(D), 0.0f);
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

// What one group of queries works with; rows of words unless told otherwise.
struct Group {
    const float* queries[kQueries];  // of D elements each
    const float* keys;               // (1 + words of D, padded(S)), see copy_keys
    const float* values;             // (words of S, padded(D))
    const float* bias[kQueries];     // (S) floats each, nullptr: none
    float scale;                     // of logits, times log2(e)
    float* weights;                  // (kQueries, padded(S)), floats of the logits at first
    float* results;                  // (kQueries, padded(D)) floats
    int64_t S, D;
};

// Logits of the keys from s on, VECTORS vectors of them; `largest` takes their maximum in.
template <int L, int VECTORS, class Words>
GSASR_INLINE void logits_from(int64_t s, const Group& group, Vector<float, L>* largest) {
    const int64_t row = padded(group.S);
    Vector<float, L> logits[kQueries][VECTORS];
    clear<L>(logits);
    const float* keys = group.keys + s;
    for (int64_t d = 0; d < words_of<Words>(group.D); ++d) {
        keys += row;
        Vector<float, L> key[VECTORS];
        for (int c = 0; c < VECTORS; ++c) key[c] = load<float, L>(keys + c * L);
        for (int r = 0; r < kQueries; ++r) {
            const Vector<float, L> query = Words::template spread<L>(group.queries[r] + d);
            for (int c = 0; c < VECTORS; ++c)
                logits[r][c] = Words::template add_product<L>(logits[r][c], query, key[c]);
        }
    }
    // Unrolled, or all logits would have a place in memory too.
    GSASR_UNROLL
    for (int c = 0; c < VECTORS; ++c) {
        const int64_t at = s + c * L;
        const int inside = static_cast<int>(group.S - at < L ? group.S - at : L);
        const Mask<float, L> mask = first_lanes<float, L>(inside);
        const Vector<float, L> start = load<float, L>(group.keys + at);
        GSASR_UNROLL
        for (int r = 0; r < kQueries; ++r) {
            logits[r][c] = logits[r][c] * broadcast<float, L>(group.scale) + start;
            if (group.bias[r])
                logits[r][c] += Partial<float, L>::load(group.bias[r] + at, inside, mask) * broadcast<float, L>(kLog2E);
            largest[r] = Maximum<float, L>::of(largest[r], logits[r][c]);
            store<float, L>(group.weights + r * row + at, logits[r][c]);
        }
    }
}

// Logits become weights; returns 1 / their sum for each query.
template <int L, class Words>
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
            sum += Words::template put_weights<L>(weights, s, weight);
        }
        sums[r] = sum;
    }
    sums_of<float, L, kQueries>(sums, inverse_sums);
    for (int r = 0; r < kQueries; ++r) inverse_sums[r] = 1.0f / inverse_sums[r];
}

// The weighted sums of the values' elements from d on, VECTORS vectors of them.
template <int L, int VECTORS, class Words>
GSASR_INLINE void results_from(int64_t d, const Group& group, const float* inverse_sums) {
    Vector<float, L> totals[kQueries][VECTORS];
    clear<L>(totals);
    for (int64_t s = 0; s < words_of<Words>(group.S); ++s) {
        Vector<float, L> value[VECTORS];
        for (int c = 0; c < VECTORS; ++c) value[c] = load<float, L>(group.values + s * padded(group.D) + d + c * L);
        for (int r = 0; r < kQueries; ++r) {
            const Vector<float, L> weight = Words::template spread<L>(group.weights + r * padded(group.S) + s);
            for (int c = 0; c < VECTORS; ++c)
                totals[r][c] = Words::template add_product<L>(totals[r][c], weight, value[c]);
        }
    }
    GSASR_UNROLL
    for (int r = 0; r < kQueries; ++r)
        GSASR_UNROLL
        for (int c = 0; c < VECTORS; ++c)
            store<float, L>(group.results + r * padded(group.D) + d + c * L,
                            totals[r][c] * broadcast<float, L>(inverse_sums[r]));
}

// The logits of all keys, and their largest per lane.
template <int L, class Words>
GSASR_INLINE void logits_of(const Group& group, Vector<float, L>* largest) {
    for (int r = 0; r < kQueries; ++r) largest[r] = broadcast<float, L>(-std::numeric_limits<float>::infinity());
    int64_t s = 0;
    for (; s + (kKeyVectors - 1) * L < group.S; s += kKeyVectors * L)
        logits_from<L, kKeyVectors, Words>(s, group, largest);
    for (; s < group.S; s += L) logits_from<L, 1, Words>(s, group, largest);
}

template <int L, class Words>
GSASR_INLINE void attend_group(const Group& group) {
    Vector<float, L> largest[kQueries];
    logits_of<L, Words>(group, largest);
    float inverse_sums[kQueries];
    weigh<L, Words>(group, largest, inverse_sums);
    int64_t d = 0;
    for (; d + (kValueVectors - 1) * L < group.D; d += kValueVectors * L)
        results_from<L, kValueVectors, Words>(d, group, inverse_sums);
    for (; d < group.D; d += L) results_from<L, 1, Words>(d, group, inverse_sums);
}

template <int L, class E>
void attend_head(const Attention<E>& problem, int64_t window, int64_t head, float* scratch) {
    const int64_t T = problem.T, S = problem.S, D = problem.D;
    float* keys = scratch;
    float* weights = keys + (D + 1) * padded(S);
    float* values = weights + kMaxQueries * padded(S);
    float* queries = values + S * padded(D);
    float* results = queries + T * padded(D);
    float* spare = results + kMaxQueries * padded(D);
    const float* rotations = problem.rotations ? problem.rotations + head * problem.positions * D : nullptr;
    const auto source = [=](const Tokens<E>& tokens, int64_t count, const float* turns) {
        const int64_t* numbers = tokens.numbers ? tokens.numbers + window * count : nullptr;
        return Source<E>{tokens_of(tokens, window, head), tokens.token, numbers, count, D, turns, spare};
    };
    copy_keys<L>(source(problem.k, S, rotations), spare + padded(D), keys);
    copy_values<L>(source(problem.v, S, nullptr), values);
    copy_queries<L>(source(problem.q, T, rotations), queries);
    Group group = {{}, keys, values, {}, problem.scale * kLog2E, weights, results, S, D};
    const int64_t* numbers = problem.q.numbers;
    for (int64_t first = 0; first < T; first += kQueries) {
        for (int r = 0; r < kQueries; ++r) {
            const int64_t t = first + r < T ? first + r : T - 1;  // the last one again, rather than fewer
            group.queries[r] = queries + t * padded(D);
            if (problem.bias) group.bias[r] = problem.bias + (head * T + t) * S;
        }
        attend_group<L, typename WordsOf<E>::Type>(group);
        for (int64_t t = first; t < T && t < first + kQueries; ++t) {
            const int64_t row = numbers ? numbers[window * T + t] : window * T + t;
            convert_row<L>(results + (t - first) * padded(D), problem.output + (row * problem.heads + head) * D, D,
                           [](float result, E& to) { put(to, result); });
        }
    }
}

}  // namespace
}  // namespace GSASR_UNIT
}  // namespace cpu
}  // namespace gsasr
