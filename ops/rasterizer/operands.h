// What the rasterizer's operators take and give, on any device: checked, and seen by the kernels as plain memory.
#pragma once

#include <cmath>
#include <limits>
#include <optional>
#include <tuple>
#include <vector>

#include "../common/binding.h"
#include "problem.h"

namespace gsasr {
namespace binding {

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
    const size_t pairs = 2 * static_cast<size_t>(inputs.B);
    const bool parts = sizes.size() == 2 * pairs;
    GSASR_CHECK(sizes.size() == pairs || parts, "sizes must hold H and W, or H, W and two rows, for each of the ",
                inputs.B, " images, got ", sizes.size(), " numbers");
    GSASR_CHECK(scales.size() == pairs, "scales must hold two numbers for each of the ", inputs.B, " images, got ",
                scales.size());
    GSASR_CHECK(std::isfinite(support) && support > 0, "support must be positive and finite, got ", support);
    GSASR_CHECK(!window || (std::isfinite(*window) && *window > 0), "window must be positive and finite or None, got ",
                window.value_or(0));
    std::vector<Image<T>> images;
    elements = 0;
    for (int64_t b = 0; b < inputs.B; ++b) {
        const int64_t* size = sizes.data() + (parts ? 4 : 2) * b;
        const int64_t H = size[0], W = size[1];
        const double scale_y = scales[2 * b], scale_x = scales[2 * b + 1];
        GSASR_CHECK(H >= 1 && H <= kMaxSide && W >= 1 && W <= kMaxSide, "sizes must be from 1 to ", kMaxSide,
                    " along each side, got ", H, " x ", W, " for image ", b);
        GSASR_CHECK(std::isfinite(scale_y) && scale_y > 0 && std::isfinite(scale_x) && scale_x > 0,
                    "scales must be positive and finite, got ", scale_y, " and ", scale_x, " for image ", b);
        images.push_back(make_image<T>(elements, H, W, scale_y, scale_x, window.value_or(0)));
        if (parts) {
            GSASR_CHECK(0 <= size[2] && size[2] < size[3] && size[3] <= H, "rows must be some of the ", H,
                        " of image ", b, ", got ", size[2], " to ", size[3]);
            images.back().first_row = static_cast<int32_t>(size[2]);
            images.back().end_row = static_cast<int32_t>(size[3]);
        }
        elements += inputs.C * plane_of(images.back());
    }
    return images;
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

inline Tensor check_v_images(const Tensor& v_images, const Inputs& inputs, int64_t elements) {
    check_shape("v_images", v_images, {elements});
    GSASR_CHECK(same_kind(v_images, inputs.means), "v_images must have the dtype and the device of means");
    return make_contiguous(v_images);
}

}  // namespace binding
}  // namespace gsasr
