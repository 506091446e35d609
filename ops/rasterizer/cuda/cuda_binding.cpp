// The CUDA kernels as torch sees them: a library of its own, which needs CUDA's libraries, so that the CPU kernels load
// beside any torch. The operators are defined in ../rasterizer_binding.cpp.
#include "../../common/export.h"
#include "../operands.h"
#include "launch.h"

namespace gsasr {
namespace binding {
namespace {

void check_float_cuda(const Inputs& inputs) {
    GSASR_CHECK(is_float(inputs.means),
                "means must be of dtype float32 on CUDA devices; float64 works on the CPU only");
}

void check_launch(const char* problem) { GSASR_CHECK(problem == nullptr, "rasterize_gaussians on CUDA: ", problem); }

Tensor forward_cuda(Tensor means, Tensor sigmas, Tensor rhos, Tensor opacities, Tensor colors, Sizes sizes,
                    Scales scales, double support, std::optional<double> window) {
    const DeviceGuard guard(device_index(means));
    const Inputs inputs(means, sigmas, rhos, opacities, colors);
    check_float_cuda(inputs);
    int64_t elements = 0;
    const auto images = make_images<float>(inputs, sizes, scales, support, window, elements);
    Tensor output = empty(inputs.means, {elements});
    if (elements > 0) {
        const size_t bytes =
            cuda::forward_workspace_bytes(images.data(), inputs.B, inputs.N, static_cast<int>(inputs.C));
        // Freed when it goes out of scope, and reused only by later work on the same stream.
        const Tensor workspace = empty_bytes(inputs.means, static_cast<int64_t>(bytes));
        check_launch(cuda::rasterize_forward(inputs.view<float>(), images.data(), static_cast<float>(support),
                                             mutable_data<float>(output), mutable_data<uint8_t>(workspace),
                                             current_stream(device_index(inputs.means))));
    }
    return output;
}

FiveTensors backward_cuda(Tensor v_images, Tensor means, Tensor sigmas, Tensor rhos, Tensor opacities, Tensor colors,
                          Sizes sizes, Scales scales, double support, std::optional<double> window) {
    const DeviceGuard guard(device_index(means));
    const Inputs inputs(means, sigmas, rhos, opacities, colors);
    check_float_cuda(inputs);
    int64_t elements = 0;
    const auto images = make_images<float>(inputs, sizes, scales, support, window, elements);
    const Tensor v_contiguous = check_v_images(v_images, inputs, elements);
    const Outputs outputs(inputs);
    if (inputs.B * inputs.N > 0) {
        const Tensor workspace =
            empty_bytes(inputs.means, static_cast<int64_t>(cuda::backward_workspace_bytes(inputs.B)));
        check_launch(cuda::rasterize_backward(inputs.view<float>(), images.data(), static_cast<float>(support),
                                              data<float>(v_contiguous), outputs.view<float>(),
                                              mutable_data<uint8_t>(workspace),
                                              current_stream(device_index(inputs.means))));
    }
    return outputs.all();
}

}  // namespace
}  // namespace binding
}  // namespace gsasr

GSASR_LIBRARY_IMPL(gsasr, CUDA, m) {
    m.impl("rasterize_gaussians", GSASR_KERNEL(gsasr::binding::forward_cuda));
    m.impl("rasterize_gaussians_backward", GSASR_KERNEL(gsasr::binding::backward_cuda));
}

GSASR_EXPORT_FACTS
