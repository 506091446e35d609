// The convolution as torch sees it: schemas, checks, and the way to the kernels, which know nothing of torch.
//
// x (B, H, W, C), weight (N, C, 3, 3), bias (N), residual (B, H, W, N); the result is (B, H, W, N), in bfloat16 or
// float32. packed: what pack_convolution made of the weight and the bias for the same type of operands; none: they are
// packed for this call. The fake kernels live in __init__.py.
#include "../common/packed_binding.h"

#include <tuple>

#include "cpu.h"

namespace gsasr {
namespace binding {
namespace {

Tensor packed_by(int64_t side, const Tensor& weight_, const Tensor& bias_, bool in_bfloat16) {
    GSASR_CHECK(weight_.dim() == 4 && weight_.size(0) >= 1 && weight_.size(1) >= 1,
                "weight must have the shape (N, C, 3, 3) with N and C from 1, got ", shape_of(weight_));
    const int64_t outs = weight_.size(0), C = weight_.size(1);
    const Tensor weight = checked_floats("weight", weight_, {outs, C, 3, 3}, weight_);
    const Tensor bias = checked_floats("bias", bias_, {outs}, weight_);
    const Tensor packed = empty_packed(weight, cpu::packed_floats(cpu::convolution_words(C, outs, side), outs));
    cpu::pack_convolution(data<float>(weight), data<float>(bias), C, outs, side, in_bfloat16, mutable_floats_of(packed),
                          threads());
    return packed;
}

Tensor pack_convolution_cpu(Tensor weight, Tensor bias, bool in_bfloat16) {
    return packed_by(2, weight, bias, in_bfloat16);
}

const void* pixels(const Tensor& map) {
    return is_float(map) ? static_cast<const void*>(data<float>(map)) : data<BFloat16>(map);
}

void check_side(int64_t side, bool in_bfloat16) {
    GSASR_CHECK(side == 2 || (side == 4 && in_bfloat16), "side must be 2, or 4 with operands in bfloat16, got ", side);
}

Tensor convolution_cpu(Tensor x_, Tensor weight, Tensor bias, std::optional<Tensor> packed_,
                       std::optional<Tensor> residual, int64_t side, bool in_bfloat16, bool output_in_bfloat16) {
    check_side(side, in_bfloat16);
    GSASR_CHECK(!packed_ || side == 2, "weights are packed for side 2, got side ", side);
    const Tensor x = with_contiguous_tokens(x_);
    GSASR_CHECK(x.dim() == 4 && x.size(3) >= 1, "x must have the shape (B, H, W, C) with C from 1, got ", shape_of(x));
    GSASR_CHECK(is_float(x) || is_bfloat16(x), "x must be of dtype float32 or bfloat16");
    const int64_t B = x.size(0), H = x.size(1), W = x.size(2), C = x.size(3);
    GSASR_CHECK(weight.dim() == 4 && weight.size(0) >= 1, "weight must have the shape (N, ", C,
                ", 3, 3) with N from 1, got ", shape_of(weight));
    const int64_t outs = weight.size(0);
    check_floats("weight", weight, {outs, C, 3, 3}, x);
    check_floats("bias", bias, {outs}, x);
    if (residual) residual = checked_floats("residual", *residual, {B, H, W, outs}, x);
    Tensor output = empty_in(output_in_bfloat16, x, {B, H, W, outs});
    const Tensor packed =
        packed_ ? checked_packed("packed", *packed_,
                                 cpu::packed_header(cpu::PackedKind::convolution, in_bfloat16, C, outs),
                                 cpu::packed_floats(cpu::convolution_words(C, outs, side), outs))
                : packed_by(side, weight, bias, in_bfloat16);
    if (B * H * W > 0) {
        void* to =
            output_in_bfloat16 ? static_cast<void*>(mutable_data<BFloat16>(output)) : mutable_data<float>(output);
        cpu::convolve({pixels(x), is_bfloat16(x), x.stride(0), x.stride(1),
                       x.stride(2), B, H, W, C, cpu::packed_weight(floats_of(packed), outs),
                       residual ? data<float>(*residual) : nullptr, to, output_in_bfloat16, outs, side},
                      in_bfloat16, threads());
    }
    return output;
}

std::tuple<Tensor, Tensor> convolution_weight_backward_cpu(Tensor v_output_, Tensor x_, int64_t side, bool in_bfloat16) {
    check_side(side, in_bfloat16);
    const Tensor x = with_contiguous_tokens(x_), v_output = make_contiguous(v_output_);
    GSASR_CHECK(x.dim() == 4 && x.size(3) >= 1, "x must have the shape (B, H, W, C) with C from 1, got ", shape_of(x));
    const int64_t B = x.size(0), H = x.size(1), W = x.size(2), C = x.size(3);
    GSASR_CHECK(v_output.dim() == 4 && v_output.size(3) >= 1,
                "v_output must have the shape (B, H, W, N) with N from 1, got ", shape_of(v_output));
    const int64_t outs = v_output.size(3);
    check_shape("v_output", v_output, {B, H, W, outs});
    for (const Tensor& tensor : {x, v_output})
        GSASR_CHECK((is_float(tensor) || is_bfloat16(tensor)) && device_index(tensor) == device_index(x),
                    "x and v_output must be of dtype float32 or bfloat16, on one device");
    Tensor v_weight = empty_in(false, x, {outs, C, 3, 3}), v_bias = empty_in(false, x, {outs});
    const cpu::Convolution forward = {pixels(x), is_bfloat16(x), x.stride(0), x.stride(1), x.stride(2), B, H, W, C,
                                      {nullptr, nullptr}, nullptr, nullptr, false, outs, side};
    cpu::differentiate_convolution({forward, pixels(v_output), is_bfloat16(v_output), mutable_data<float>(v_weight),
                                    mutable_data<float>(v_bias)},
                                   in_bfloat16, threads());
    return {v_weight, v_bias};
}

}  // namespace
}  // namespace binding
}  // namespace gsasr

#if !defined(GSASR_KERNELS_ONLY)
GSASR_LIBRARY(gsasr, m) {
    m.def("pack_convolution(Tensor weight, Tensor bias, bool in_bfloat16) -> Tensor");
    m.def("convolution(Tensor x, Tensor weight, Tensor bias, Tensor? packed, Tensor? residual, int side, bool in_bfloat16, bool output_in_bfloat16) -> Tensor");
    m.def("convolution_weight_backward(Tensor v_output, Tensor x, int side, bool in_bfloat16) -> (Tensor v_weight, Tensor v_bias)");
}
#endif

GSASR_LIBRARY_IMPL(gsasr, CPU, m) {
    m.impl("pack_convolution", GSASR_KERNEL(gsasr::binding::pack_convolution_cpu));
    m.impl("convolution", GSASR_KERNEL(gsasr::binding::convolution_cpu));
    m.impl("convolution_weight_backward", GSASR_KERNEL(gsasr::binding::convolution_weight_backward_cpu));
}
