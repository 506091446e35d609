// The window attention as torch sees it: schema, checks, and the way to the kernels, which know nothing of torch.
//
// q (M, heads, T, D), k and v (M, heads, S, D), bias (heads, T, S), rotations (heads, P, D / 2, 2) with P of at least T
// and S; the result is (M, T, heads * D). Or with windows (M, T) and context_windows (M, S), the numbers of rows:
// q (R, heads, D), k and v (any, heads, D), and the result (R, heads * D). Derivatives and the fake kernel live in
// __init__.py.
#include "../common/binding.h"

#include <algorithm>
#include <cmath>
#include <tuple>

#include "cpu.h"

namespace gsasr {
namespace binding {
namespace {

// (M, heads, T, D), or (R, heads, D) and the numbers of the windows' tokens.
template <class E>
cpu::Tokens<E> tokens(const Tensor& tensor, const std::optional<Tensor>& windows) {
    if (windows) return {data<E>(tensor), 0, tensor.stride(1), tensor.stride(0), data<int64_t>(*windows)};
    return {data<E>(tensor), tensor.stride(0), tensor.stride(1), tensor.stride(2), nullptr};
}

// Numbers of rows below `limit`, (M, any), owned by the result. `once`: each of the rows is there exactly once.
Tensor checked_windows(const char* name, const Tensor& windows_, const Tensor& q, int64_t limit, bool once) {
    GSASR_CHECK(windows_.dim() == 2, name, " must be a matrix, got ", shape_of(windows_));
    GSASR_CHECK(is_int64(windows_) && device_index(windows_) == device_index(q), name,
                " must be of dtype int64, on the device of the others");
    const Tensor windows = make_contiguous(windows_);
    const int64_t count = windows.size(0) * windows.size(1);
    GSASR_CHECK(!once || count == limit, name, " must hold all numbers from 0 to ", limit - 1, ", got ", count);
    std::vector<bool> seen(once ? static_cast<size_t>(limit) : 0);
    for (int64_t i = 0; i < count; ++i) {
        const int64_t number = data<int64_t>(windows)[i];
        GSASR_CHECK(number >= 0 && number < limit, name, " must hold numbers from 0 to ", limit - 1, ", got ", number);
        if (!once) continue;
        GSASR_CHECK(!seen[static_cast<size_t>(number)], name, " must hold each number once, got ", number, " again");
        seen[static_cast<size_t>(number)] = true;
    }
    return windows;
}

// What forward and backward share: checked operands, which own what the kernels read, and sizes.
struct Operands {
    Tensor q, k, v;
    std::optional<Tensor> bias, rotations, windows, context_windows;
    double scale;
    int64_t heads, D, M, T, S;

    Operands(Tensor q_, Tensor k_, Tensor v_, std::optional<Tensor> bias_, std::optional<Tensor> rotations_,
             std::optional<Tensor> windows_, std::optional<Tensor> context_windows_, double scale_)
        : q(with_contiguous_tokens(q_)),
          k(with_contiguous_tokens(k_)),
          v(with_contiguous_tokens(v_)),
          windows(windows_),
          context_windows(context_windows_),
          scale(scale_) {
        GSASR_CHECK(windows.has_value() == context_windows.has_value(),
                    "windows and context_windows must both be given or neither");
        const char* layout = windows ? "(R, heads, D)" : "(M, heads, T, D)";
        GSASR_CHECK(q.dim() == (windows ? 3 : 4), "q must have the shape ", layout, ", got ", shape_of(q));
        GSASR_CHECK(k.dim() == q.dim(), "k must have the shape ", layout, ", got ", shape_of(k));
        GSASR_CHECK(is_float(q) || is_bfloat16(q), "q must be of dtype float32 or bfloat16");
        heads = q.size(1);
        D = q.size(q.dim() - 1);
        M = q.size(0);
        T = q.size(2);
        S = k.size(2);
        if (windows) {
            windows = checked_windows("windows", *windows, q, q.size(0), true);
            context_windows = checked_windows("context_windows", *context_windows, q, k.size(0), false);
            M = windows->size(0);
            T = windows->size(1);
            S = context_windows->size(1);
            check_shape("context_windows", *context_windows, {M, S});
            check_shape("k", k, {k.size(0), heads, D});
            check_shape("v", v, {k.size(0), heads, D});
        } else {
            check_shape("k", k, {M, heads, S, D});
            check_shape("v", v, {M, heads, S, D});
        }
        GSASR_CHECK(S >= 1, "there must be at least one key, got none");
        GSASR_CHECK(same_kind(k, q) && same_kind(v, q), "k and v must have the dtype and the device of q");
        GSASR_CHECK(std::isfinite(scale), "scale must be finite, got ", scale);
        if (bias_) bias = checked_floats("bias", *bias_, {heads, T, S}, q);
        if (rotations_) {
            const bool enough = rotations_->dim() == 4 && rotations_->size(1) >= std::max(T, S);
            GSASR_CHECK(enough && D % 2 == 0, "rotations must have the shape (heads, P, D / 2, 2) with P from ",
                        std::max(T, S), " and D even, got ", shape_of(*rotations_), " for D = ", D);
            rotations = checked_floats("rotations", *rotations_, {heads, rotations_->size(1), D / 2, 2}, q);
        }
    }

    Tensor empty_output() const {
        return windows ? empty(q, {q.size(0), heads * D}) : empty(q, {M, T, heads * D});
    }
    template <class E>
    cpu::Attention<E> problem(E* output) const {
        return {tokens<E>(q, windows), tokens<E>(k, context_windows), tokens<E>(v, context_windows),
                bias ? data<float>(*bias) : nullptr, rotations ? data<float>(*rotations) : nullptr,
                rotations ? rotations->size(1) : 0, static_cast<float>(scale), M, heads, T, S, D, output};
    }
};

Tensor window_attention_cpu(Tensor q, Tensor k, Tensor v, std::optional<Tensor> bias, std::optional<Tensor> rotations,
                            std::optional<Tensor> windows, std::optional<Tensor> context_windows, double scale) {
    const Operands given(q, k, v, bias, rotations, windows, context_windows, scale);
    Tensor output = given.empty_output();
    if (given.M * given.T * given.heads * given.D == 0) return output;
    if (is_float(given.q))
        cpu::attend(given.problem<float>(mutable_data<float>(output)), threads());
    else
        cpu::attend(given.problem<BFloat16>(mutable_data<BFloat16>(output)), threads());
    return output;
}

using FourTensors = std::tuple<Tensor, Tensor, Tensor, Tensor>;

FourTensors window_attention_backward_cpu(Tensor v_output_, Tensor q, Tensor k, Tensor v, std::optional<Tensor> bias,
                                          std::optional<Tensor> windows, std::optional<Tensor> context_windows,
                                          double scale) {
    const Operands given(q, k, v, bias, std::nullopt, windows, context_windows, scale);
    const int64_t M = given.M, T = given.T, S = given.S, heads = given.heads, D = given.D;
    const Tensor v_output = make_contiguous(v_output_);
    if (windows)
        check_shape("v_output", v_output, {given.q.size(0), heads * D});
    else
        check_shape("v_output", v_output, {M, T, heads * D});
    GSASR_CHECK(same_kind(v_output, given.q), "v_output must have the dtype and the device of q");
    const int64_t queries = windows ? given.q.size(0) : M * T, keys = windows ? given.k.size(0) : M * S;
    const auto zeros = [&](std::initializer_list<int64_t> shape, int64_t count) {
        Tensor result = empty_in(false, given.q, shape);
        std::fill_n(mutable_data<float>(result), count, 0.0f);
        return result;
    };
    Tensor v_q = zeros({queries, heads, D}, queries * heads * D), v_k = zeros({keys, heads, D}, keys * heads * D);
    Tensor v_v = zeros({keys, heads, D}, keys * heads * D);
    Tensor v_bias = bias ? zeros({heads, T, S}, heads * T * S) : zeros({0}, 0);
    if (M * T * heads * D == 0) return {v_q, v_k, v_v, v_bias};
    const auto differentiate_as = [&](auto element) {
        using E = decltype(element);
        cpu::differentiate_attention(
            cpu::AttentionGradient<E>{given.problem<E>(nullptr), data<E>(v_output), mutable_data<float>(v_q),
                                      mutable_data<float>(v_k), mutable_data<float>(v_v),
                                      bias ? mutable_data<float>(v_bias) : nullptr},
            threads());
    };
    if (is_float(given.q))
        differentiate_as(float());
    else
        differentiate_as(BFloat16());
    return {v_q, v_k, v_v, v_bias};
}

}  // namespace
}  // namespace binding
}  // namespace gsasr

#if !defined(GSASR_KERNELS_ONLY)
GSASR_LIBRARY(gsasr, m) {
    m.def("window_attention(Tensor q, Tensor k, Tensor v, Tensor? bias, Tensor? rotations, Tensor? windows, Tensor? context_windows, float scale) -> Tensor");
    m.def("window_attention_backward(Tensor v_output, Tensor q, Tensor k, Tensor v, Tensor? bias, Tensor? windows, Tensor? context_windows, float scale) -> (Tensor v_q, Tensor v_k, Tensor v_v, Tensor v_bias)");
}
#endif

GSASR_LIBRARY_IMPL(gsasr, CPU, m) {
    m.impl("window_attention", GSASR_KERNEL(gsasr::binding::window_attention_cpu));
    m.impl("window_attention_backward", GSASR_KERNEL(gsasr::binding::window_attention_backward_cpu));
}
