// Backward pass: each Gaussian gathers from the pixels of its own box. No binning, no atomics, no order that could differ
// between runs.
//
// A group of 8 or 32 lanes owns one Gaussian and takes the pixels of the box in turn, row after row without a gap at
// the ends of rows; each lane sums the colour terms and the five moments of gaussian.h, a butterfly of shuffles adds the
// lanes up, and the chain rule is applied once. Where groups have 8 lanes, the few Gaussians whose boxes are far larger than their
// neighbours' are left for the whole warp.
#pragma once

#include "bins.cuh"

namespace gsasr {
namespace cuda {

constexpr int kBackwardThreads = 128;
constexpr int kSmallGroup = 8;
constexpr int32_t kLargeBox = 4096;  // pixels; a box for the whole warp

// One Gaussian, and the pixels it looks at.
struct Gathering {
    int64_t index;
    const Image<float>* image;
    float mean_x, mean_y, sigma_x, sigma_y, rho;
    Range columns, rows;

    __device__ __forceinline__ int32_t pixels() const {
        return (columns.end - columns.first) * (rows.end - rows.first);
    }
};

__device__ __forceinline__ Gathering load_gaussian(const Gaussians<float>& gaussians, const Entry* table, float support,
                                                   int64_t i) {
    Gathering g;
    g.index = i;
    g.image = &table[static_cast<uint32_t>(i) / static_cast<uint32_t>(gaussians.N)].image;
    g.mean_x = gaussians.means[2 * i];
    g.mean_y = gaussians.means[2 * i + 1];
    g.sigma_x = gaussians.sigmas[2 * i];
    g.sigma_y = gaussians.sigmas[2 * i + 1];
    g.rho = gaussians.rhos[i];
    g.columns = {0, 0};
    g.rows = {0, 0};
    if (drawable(g.sigma_x, g.sigma_y, g.rho)) {
        const Range columns = columns_of(*g.image, g.mean_x, g.sigma_x, support);
        const Range rows = rows_of(*g.image, g.mean_y, g.sigma_y, support);
        if (columns.first < columns.end && rows.first < rows.end) {
            g.columns = columns;
            g.rows = rows;
        }
    }
    return g;
}

// Gather the gradients of one Gaussian with `Lanes` lanes, named by `mask`; `lane` counts from 0 within them.
template <int C, int Lanes>
__device__ __forceinline__ void gather(const Gaussians<float>& gaussians, const Gathering& g, const float* v_images,
                                       const Gradients<float>& gradients, unsigned mask, int lane) {
    const int64_t i = g.index;
    const float opacity = gaussians.opacities[i];
    float color[C], e_g[C];  // e_g: sum of e * g
#pragma unroll
    for (int c = 0; c < C; ++c) {
        color[c] = gaussians.colors[C * i + c];
        e_g[c] = 0.0f;
    }
    Shape<float> shape = {0.0f, 0.0f, 0.0f, 0.0f};
    Moments<float> moments = {0.0f, 0.0f, 0.0f, 0.0f, 0.0f};
    const int32_t width = g.columns.end - g.columns.first;
    if (width > 0) {
        shape = make_shape(g.sigma_x, g.sigma_y, g.rho);
        const int32_t W = g.image->W;
        const int64_t plane = static_cast<int64_t>(g.image->H) * W;
        const float step_x = g.image->step_x, step_low_x = g.image->step_low_x;
        const float step_y = g.image->step_y, step_low_y = g.image->step_low_y;
        float weight[C];
#pragma unroll
        for (int c = 0; c < C; ++c) weight[c] = opacity * color[c];

        // The next pixel is `Lanes` further on: so many rows and columns, and one row more past the end of a row.
        const int32_t row = lane / width, column = lane % width;
        const int32_t rows_on = Lanes / width, columns_on = Lanes % width;
        const float rows_on_f = static_cast<float>(rows_on), columns_on_f = static_cast<float>(columns_on);
        const float width_f = static_cast<float>(width);
        // Centres of pixels, in output pixels: exact numbers.
        float x = static_cast<float>(g.columns.first + column) + 0.5f;
        float y = static_cast<float>(g.rows.first + row) + 0.5f;
        const float end_x = static_cast<float>(g.columns.end), end_y = static_cast<float>(g.rows.end);
        const float* pixel = v_images + g.image->offset + static_cast<int64_t>(g.rows.first + row) * W +
                             g.columns.first + column;
        const int64_t pixels_on = static_cast<int64_t>(rows_on) * W + columns_on;
        while (y < end_y) {
            const float dx = fused(x, step_low_x, fused(x, step_x, -g.mean_x));
            const float dy = fused(y, step_low_y, fused(y, step_y, -g.mean_y));
            const float v = dy * shape.inv_sigma_y;
            const float t = tilted(shape, dx * shape.inv_sigma_x, v);
            const float e = exp2_fast(-0.72134752f * fused(t, t, v * v));  // log2(e) / 2
            float w = 0.0f;
#pragma unroll
            for (int c = 0; c < C; ++c) {
                const float e_v = e * pixel[c * plane];
                e_g[c] += e_v;
                w = fused(weight[c], e_v, w);
            }
            const float w_t = w * t, w_v = w * v;
            moments.w_t += w_t;
            moments.w_v += w_v;
            moments.w_tt = fused(w_t, t, moments.w_tt);
            moments.w_tv = fused(w_t, v, moments.w_tv);
            moments.w_vv = fused(w_v, v, moments.w_vv);

            x += columns_on_f;
            y += rows_on_f;
            pixel += pixels_on;
            if (x >= end_x) {
                x -= width_f;
                y += 1.0f;
                pixel += W - width;
            }
        }
    }

    moments.w_t = sum_over_lanes<Lanes>(mask, moments.w_t);
    moments.w_v = sum_over_lanes<Lanes>(mask, moments.w_v);
    moments.w_tt = sum_over_lanes<Lanes>(mask, moments.w_tt);
    moments.w_tv = sum_over_lanes<Lanes>(mask, moments.w_tv);
    moments.w_vv = sum_over_lanes<Lanes>(mask, moments.w_vv);
#pragma unroll
    for (int c = 0; c < C; ++c) e_g[c] = sum_over_lanes<Lanes>(mask, e_g[c]);
    if (lane != 0) return;

    GeometryGradient<float> v = chain_rule(shape, moments);
    float v_opacity = 0.0f;
#pragma unroll
    for (int c = 0; c < C; ++c) v_opacity = fused(color[c], e_g[c], v_opacity);
    if (undefined(g.mean_x, g.mean_y, g.sigma_x, g.sigma_y, g.rho)) {
        const float nan = nanf("");
        v = {nan, nan, nan, nan, nan};
        v_opacity = nan;
#pragma unroll
        for (int c = 0; c < C; ++c) e_g[c] = nan;
    }
    gradients.means[2 * i] = v.mean_x;
    gradients.means[2 * i + 1] = v.mean_y;
    gradients.sigmas[2 * i] = v.sigma_x;
    gradients.sigmas[2 * i + 1] = v.sigma_y;
    gradients.rhos[i] = v.rho;
    gradients.opacities[i] = v_opacity;
#pragma unroll
    for (int c = 0; c < C; ++c) gradients.colors[C * i + c] = opacity * e_g[c];
}

template <int C, int Lanes>
__global__ void __launch_bounds__(kBackwardThreads)
    gather_kernel(const __grid_constant__ Gaussians<float> gaussians, const Entry* table, float support,
                  const float* v_images, const __grid_constant__ Gradients<float> gradients) {
    const int lane = threadIdx.x % kWarp;
    const int64_t count = gaussians.B * gaussians.N;
    const int64_t thread = static_cast<int64_t>(blockIdx.x) * kBackwardThreads + threadIdx.x;
    const int64_t i = thread / Lanes;
    bool large = false;
    if (i < count) {
        const Gathering g = load_gaussian(gaussians, table, support, i);
        large = Lanes < kWarp && g.pixels() > kLargeBox;
        if (!large) {
            const unsigned mask = kAllLanes >> (kWarp - Lanes) << (lane / Lanes * Lanes);
            gather<C, Lanes>(gaussians, g, v_images, gradients, mask, lane % Lanes);
        }
    }
    if (Lanes < kWarp) {
        unsigned left = __ballot_sync(kAllLanes, large && lane % Lanes == 0);
        while (left != 0) {
            const int leader = __ffs(left) - 1;
            left &= left - 1;
            const int64_t next = thread / kWarp * (kWarp / Lanes) + leader / Lanes;
            gather<C, kWarp>(gaussians, load_gaussian(gaussians, table, support, next), v_images, gradients, kAllLanes,
                             lane);
        }
    }
}

}  // namespace cuda
}  // namespace gsasr
