// The rasterizer as torch sees it: schemas, checks, and the way to the kernels, which know nothing of torch.
//
// Shapes: means (B, N, 2), sigmas (B, N, 2), rhos (B, N), opacities (B, N), colors (B, N, C). sizes: H and W of each
// image, 2 B numbers. scales: output pixels per LR pixel along rows (y) and columns (x) of each image, 2 B numbers. The
// images come one after the other in a flat tensor, each planar (C, H_i, W_i). Derivatives, the fake kernels and autocast
// live in __init__.py.
#include "../common/binding.h"

#include <cmath>
#include <limits>
#include <tuple>

#include "cpu.h"
#include "problem.h"
#if defined(GSASR_WITH_CUDA)
#include "cuda/launch.h"
#endif

namespace gsasr {
namespace binding {
namespace {

// Inputs that were checked and made contiguous; they own what the kernels read.
struct Inputs {
    Tensor means, sigmas, rhos, opacities, colors;
    int64_t B, N, C;

    Inputs(const Tensor& means_, const Tensor& sigmas_, const Tensor& rhos_, const Tensor& opacities_,
           const Tensor& colors_)
        : means(make_contiguous(means_)),
          sigmas(make_contiguous(sigmas_)),
          rhos(make_contiguous(rhos_)),
          opacities(make_contiguous(opacities_)),
          colors(make_contiguous(colors_)) {
        GSASR_CHECK(means.dim() == 3 && means.size(2) == 2, "means must have the shape (B, N, 2), got ",
                    shape_of(means));
        B = means.size(0);
        N = means.size(1);
        check_shape("sigmas", sigmas, {B, N, 2});
        check_shape("rhos", rhos, {B, N});
        check_shape("opacities", opacities, {B, N});
        GSASR_CHECK(colors.dim() == 3 && colors.size(2) >= 1 && colors.size(2) <= kMaxChannels,
                    "colors must have the shape (B, N, C) with C from 1 to ", kMaxChannels, ", got ", shape_of(colors));
        C = colors.size(2);
        check_shape("colors", colors, {B, N, C});
        const Tensor* others[] = {&sigmas, &rhos, &opacities, &colors};
        const char* names[] = {"sigmas", "rhos", "opacities", "colors"};
        for (int k = 0; k < 4; ++k)
            GSASR_CHECK(same_kind(*others[k], means), names[k], " must have the dtype and the device of means");
        GSASR_CHECK(N <= std::numeric_limits<int32_t>::max(),
                    "means may hold at most 2^31 - 1 Gaussians per image, got ", N);
    }

    template <class T>
    Gaussians<T> view() const {
        return {data<T>(means), data<T>(sigmas), data<T>(rhos), data<T>(opacities), data<T>(colors),
                B, N, static_cast<int>(C)};
    }
};

// The table of images; `elements` receives the length of the flat output.
template <class T>
std::vector<Image<T>> make_images(const Inputs& inputs, const Sizes& sizes, const Scales& scales, double support,
                                  const std::optional<double>& window, int64_t& elements) {
    const size_t expected = 2 * static_cast<size_t>(inputs.B);
    GSASR_CHECK(sizes.size() == expected, "sizes must hold H and W for each of the ", inputs.B, " images, got ",
                sizes.size(), " numbers");
    GSASR_CHECK(scales.size() == expected, "scales must hold two numbers for each of the ", inputs.B, " images, got ",
                scales.size());
    GSASR_CHECK(std::isfinite(support) && support > 0, "support must be positive and finite, got ", support);
    GSASR_CHECK(!window || (std::isfinite(*window) && *window > 0), "window must be positive and finite or None, got ",
                window.value_or(0));
    std::vector<Image<T>> images;
    elements = 0;
    for (int64_t b = 0; b < inputs.B; ++b) {
        const int64_t H = sizes[2 * b], W = sizes[2 * b + 1];
        const double scale_y = scales[2 * b], scale_x = scales[2 * b + 1];
        GSASR_CHECK(H >= 1 && H <= kMaxSide && W >= 1 && W <= kMaxSide, "sizes must be from 1 to ", kMaxSide,
                    " along each side, got ", H, " x ", W, " for image ", b);
        GSASR_CHECK(std::isfinite(scale_y) && scale_y > 0 && std::isfinite(scale_x) && scale_x > 0,
                    "scales must be positive and finite, got ", scale_y, " and ", scale_x, " for image ", b);
        images.push_back(make_image<T>(elements, H, W, scale_y, scale_x, window.value_or(0)));
        elements += inputs.C * H * W;
    }
    return images;
}

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

using FiveTensors = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>;

struct Outputs {
    Tensor means, sigmas, rhos, opacities, colors;

    explicit Outputs(const Inputs& in)
        : means(empty(in.means, {in.B, in.N, 2})),
          sigmas(empty(in.means, {in.B, in.N, 2})),
          rhos(empty(in.means, {in.B, in.N})),
          opacities(empty(in.means, {in.B, in.N})),
          colors(empty(in.means, {in.B, in.N, in.C})) {}

    template <class T>
    Gradients<T> view() const {
        return {mutable_data<T>(means), mutable_data<T>(sigmas), mutable_data<T>(rhos), mutable_data<T>(opacities),
                mutable_data<T>(colors)};
    }

    FiveTensors all() const { return {means, sigmas, rhos, opacities, colors}; }
};

Tensor check_v_images(const Tensor& v_images, const Inputs& inputs, int64_t elements) {
    check_shape("v_images", v_images, {elements});
    GSASR_CHECK(same_kind(v_images, inputs.means), "v_images must have the dtype and the device of means");
    return make_contiguous(v_images);
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

#if defined(GSASR_WITH_CUDA)

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

#endif

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

#if defined(GSASR_WITH_CUDA)
GSASR_LIBRARY_IMPL(gsasr, CUDA, m) {
    m.impl("rasterize_gaussians", GSASR_KERNEL(gsasr::binding::forward_cuda));
    m.impl("rasterize_gaussians_backward", GSASR_KERNEL(gsasr::binding::backward_cuda));
}
#endif
