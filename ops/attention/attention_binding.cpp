// The window attention as torch sees it: schema, checks, and the way to the kernels, which know nothing of torch.
//
// q (M, heads, T, D), k and v (M, heads, S, D), bias (heads, T, S), rotations (heads, P, D / 2, 2) with P of at least T
// and S; the result is (M, T, heads * D). Or with windows (M, T) and context_windows (M, S), the numbers of rows:
// q (R, heads, D), k and v (any, heads, D), and the result (R, heads * D). Derivatives and the fake kernel live in
// __init__.py.
#include "../common/binding.h"

#include <algorithm>
#include <cmath>

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

Tensor window_attention_cpu(Tensor q_, Tensor k_, Tensor v_, std::optional<Tensor> bias_,
                            std::optional<Tensor> rotations_, std::optional<Tensor> windows,
                            std::optional<Tensor> context_windows, double scale) {
    const Tensor q = with_contiguous_tokens(q_), k = with_contiguous_tokens(k_), v = with_contiguous_tokens(v_);
    GSASR_CHECK(windows.has_value() == context_windows.has_value(),
                "windows and context_windows must both be given or neither");
    const char* layout = windows ? "(R, heads, D)" : "(M, heads, T, D)";
    GSASR_CHECK(q.dim() == (windows ? 3 : 4), "q must have the shape ", layout, ", got ", shape_of(q));
    GSASR_CHECK(k.dim() == q.dim(), "k must have the shape ", layout, ", got ", shape_of(k));
    GSASR_CHECK(is_float(q) || is_bfloat16(q), "q must be of dtype float32 or bfloat16");
    const int64_t heads = q.size(1), D = q.size(q.dim() - 1);
    int64_t M = q.size(0), T = q.size(2), S = k.size(2);
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
    std::optional<Tensor> bias, rotations;  // own what the kernel reads
    if (bias_) bias = checked_floats("bias", *bias_, {heads, T, S}, q);
    if (rotations_) {
        const bool enough = rotations_->dim() == 4 && rotations_->size(1) >= std::max(T, S);
        GSASR_CHECK(enough && D % 2 == 0, "rotations must have the shape (heads, P, D / 2, 2) with P from ",
                    std::max(T, S), " and D even, got ", shape_of(*rotations_), " for D = ", D);
        rotations = checked_floats("rotations", *rotations_, {heads, rotations_->size(1), D / 2, 2}, q);
    }
    Tensor output = windows ? empty(q, {q.size(0), heads * D}) : empty(q, {M, T, heads * D});
    if (M * T * heads * D == 0) return output;
    const auto attend_as = [&](auto element) {
        using E = decltype(element);
        cpu::attend(cpu::Attention<E>{tokens<E>(q, windows), tokens<E>(k, context_windows),
                                      tokens<E>(v, context_windows), bias ? data<float>(*bias) : nullptr,
                                      rotations ? data<float>(*rotations) : nullptr,
                                      rotations ? rotations->size(1) : 0, static_cast<float>(scale), M, heads, T, S, D,
                                      mutable_data<E>(output)},
                    threads());
    };
    if (is_float(q))
        attend_as(float());
    else
        attend_as(BFloat16());
    return output;
}

}  // namespace
}  // namespace binding
}  // namespace gsasr

#if !defined(GSASR_KERNELS_ONLY)
GSASR_LIBRARY(gsasr, m) {
    m.def("window_attention(Tensor q, Tensor k, Tensor v, Tensor? bias, Tensor? rotations, Tensor? windows, Tensor? context_windows, float scale) -> Tensor");
}
#endif

GSASR_LIBRARY_IMPL(gsasr, CPU, m) {
    m.impl("window_attention", GSASR_KERNEL(gsasr::binding::window_attention_cpu));
}
