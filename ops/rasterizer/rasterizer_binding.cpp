// The rasterizer as torch sees it: schemas, checks, and the way to the kernels, which know nothing of torch.
//
// Shapes: means (B, N, 2), sigmas (B, N, 2), rhos (B, N), opacities (B, N), colors (B, N, C). sizes: H and W of each
// image, 2 B numbers; or of each H, W, the first row that is drawn and the one after the last, 4 B numbers: these rows
// have the bits that they have in the whole. scales: output pixels per LR pixel along rows (y) and columns (x) of each
// image, 2 B numbers. The images come one after the other in a flat tensor, each planar (C, H_i, W_i). Derivatives, the
// fake kernels and autocast live in __init__.py.
#include "cpu.h"
#include "operands.h"

namespace gsasr {
namespace binding {
namespace {

template <class T>
Tensor forward_cpu_as(const Inputs& inputs, const Sizes& sizes, const Scales& scales, double support,
                      const std::optional<double>& window) {
    int64_t elements = 0;
    const auto images = make_images<T>(inputs, sizes, scales, support, window, elements);
    Tensor output = empty(inputs.means, {elements});
    if (elements > 0)
        cpu::rasterize_forward<T>(inputs.view<T>(), images.data(), static_cast<T>(support), mutable_data<T>(output),
                                  threads());
    return output;
}

template <class T>
FiveTensors backward_cpu_as(const Tensor& v_images, const Inputs& inputs, const Sizes& sizes, const Scales& scales,
                            double support, const std::optional<double>& window) {
    int64_t elements = 0;
    const auto images = make_images<T>(inputs, sizes, scales, support, window, elements);
    const Tensor v_contiguous = check_v_images(v_images, inputs, elements);
    const Outputs outputs(inputs);
    if (inputs.B * inputs.N > 0)
        cpu::rasterize_backward<T>(inputs.view<T>(), images.data(), static_cast<T>(support), data<T>(v_contiguous),
                                   outputs.view<T>(), threads());
    return outputs.all();
}

void check_dtype(const Inputs& inputs) {
    GSASR_CHECK(is_float(inputs.means) || is_double(inputs.means),
                "means must be of dtype float32 or float64 on the CPU");
}

Tensor forward_cpu(Tensor means, Tensor sigmas, Tensor rhos, Tensor opacities, Tensor colors, Sizes sizes,
                   Scales scales, double support, std::optional<double> window) {
    const Inputs inputs(means, sigmas, rhos, opacities, colors);
    check_dtype(inputs);
    return is_float(inputs.means) ? forward_cpu_as<float>(inputs, sizes, scales, support, window)
                                  : forward_cpu_as<double>(inputs, sizes, scales, support, window);
}

FiveTensors backward_cpu(Tensor v_images, Tensor means, Tensor sigmas, Tensor rhos, Tensor opacities, Tensor colors,
                         Sizes sizes, Scales scales, double support, std::optional<double> window) {
    const Inputs inputs(means, sigmas, rhos, opacities, colors);
    check_dtype(inputs);
    return is_float(inputs.means) ? backward_cpu_as<float>(v_images, inputs, sizes, scales, support, window)
                                  : backward_cpu_as<double>(v_images, inputs, sizes, scales, support, window);
}

}  // namespace
}  // namespace binding
}  // namespace gsasr

#if !defined(GSASR_KERNELS_ONLY)
GSASR_LIBRARY(gsasr, m) {
    m.def("rasterize_gaussians(Tensor means, Tensor sigmas, Tensor rhos, Tensor opacities, Tensor colors, SymInt[] sizes, float[] scales, float support, float? window) -> Tensor");
    m.def("rasterize_gaussians_backward(Tensor v_images, Tensor means, Tensor sigmas, Tensor rhos, Tensor opacities, Tensor colors, SymInt[] sizes, float[] scales, float support, float? window) -> (Tensor v_means, Tensor v_sigmas, Tensor v_rhos, Tensor v_opacities, Tensor v_colors)");
}
#endif

GSASR_LIBRARY_IMPL(gsasr, CPU, m) {
    m.impl("rasterize_gaussians", GSASR_KERNEL(gsasr::binding::forward_cpu));
    m.impl("rasterize_gaussians_backward", GSASR_KERNEL(gsasr::binding::backward_cpu));
}
