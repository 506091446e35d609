// Backward pass: each Gaussian gathers from the pixels of its own box. No binning, no atomics, no order that could
// differ between runs.
//
// A group of 8 or 32 lanes owns one Gaussian and takes the pixels of the box in turn, row after row without a gap at
// the ends of rows; each lane sums the colour terms and the five moments of gaussian.h, a butterfly of shuffles adds
// the lanes up, and the chain rule is applied once. Where groups have 8 lanes, the few Gaussians whose boxes are far
// larger than their neighbours' are left for the whole warp, which learns of them by a vote.
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
        Range rows = rows_of(*g.image, g.mean_y, g.sigma_y, support);
        rows = {larger(rows.first, g.image->first_row), smaller(rows.end, g.image->end_row)};
        if (columns.first < columns.end && rows.first < rows.end) {
            g.columns = columns;
            g.rows = rows;
        }
    }
    return g;
}

// What the lanes add up for one Gaussian.
template <int C>
struct Sums {
    Moments<float> moments;
    float e_g[C];  // sum of e * g
};

// The share of lane `lane` of `Lanes` in the sums of one Gaussian.
template <int C, int Lanes>
__device__ __forceinline__ Sums<C> look_at_pixels(const Gaussians<float>& gaussians, const Gathering& g,
                                                  const float* v_images, int lane) {
    Sums<C> sums = {};
    const int32_t width = g.columns.end - g.columns.first;
    if (width <= 0) return sums;
    const Shape<float> shape = make_shape(g.sigma_x, g.sigma_y, g.rho);
    const uint32_t W = g.image->W;
    const int64_t plane = static_cast<int64_t>(g.image->end_row - g.image->first_row) * W;
    const float step_x = g.image->step_x, step_low_x = g.image->step_low_x;
    const float step_y = g.image->step_y, step_low_y = g.image->step_low_y;
    const float opacity = gaussians.opacities[g.index];
    float weight[C];
#pragma unroll
    for (int c = 0; c < C; ++c) weight[c] = opacity * gaussians.colors[C * g.index + c];

    // The next pixel is `Lanes` further on: so many rows and columns, and one row more past the end of a row.
    const int32_t row = lane / width, column = lane % width;
    const int32_t rows_on = Lanes / width, columns_on = Lanes % width;
    const float rows_on_f = static_cast<float>(rows_on), columns_on_f = static_cast<float>(columns_on);
    // Centres of pixels, in output pixels: exact numbers. x stays in the box: beyond 2^23 it would lose its half.
    float x = static_cast<float>(g.columns.first + column) + 0.5f;
    float y = static_cast<float>(g.rows.first + row) + 0.5f;
    const float wraps_from_x = static_cast<float>(g.columns.end - columns_on), end_y = static_cast<float>(g.rows.end);
    const float columns_back_f = static_cast<float>(width - columns_on);
    // A plane has less than 2^31 pixels, and the last step leads no further than 32 rows beyond it.
    const float* image = v_images + g.image->offset;
    uint32_t pixel = static_cast<uint32_t>(g.rows.first + row - g.image->first_row) * W + g.columns.first + column;
    const uint32_t pixels_on = static_cast<uint32_t>(rows_on) * W + columns_on, skipped = W - width;
    while (y < end_y) {
        const float dx = fused(x, step_low_x, fused(x, step_x, -g.mean_x));
        const float dy = fused(y, step_low_y, fused(y, step_y, -g.mean_y));
        const float v = dy * shape.inv_sigma_y;
        const float t = tilted(shape, dx * shape.inv_sigma_x, v);
        const float e = exp2_fast(-0.72134752f * fused(t, t, v * v));  // log2(e) / 2
        float w = 0.0f;
#pragma unroll
        for (int c = 0; c < C; ++c) {
            const float e_v = e * (image + c * plane)[pixel];
            sums.e_g[c] += e_v;
            w = fused(weight[c], e_v, w);
        }
        const float w_t = w * t, w_v = w * v;
        sums.moments.w_t += w_t;
        sums.moments.w_v += w_v;
        sums.moments.w_tt = fused(w_t, t, sums.moments.w_tt);
        sums.moments.w_tv = fused(w_t, v, sums.moments.w_tv);
        sums.moments.w_vv = fused(w_v, v, sums.moments.w_vv);

        y += rows_on_f;
        pixel += pixels_on;
        if (x >= wraps_from_x) {
            x -= columns_back_f;
            y += 1.0f;
            pixel += skipped;
        } else {
            x += columns_on_f;
        }
    }
    return sums;
}

// Add up the shares of groups of `Lanes` lanes; the whole warp takes part.
template <int C, int Lanes>
__device__ __forceinline__ void add_up(Sums<C>& sums) {
    sums.moments.w_t = sum_over_lanes<Lanes>(sums.moments.w_t);
    sums.moments.w_v = sum_over_lanes<Lanes>(sums.moments.w_v);
    sums.moments.w_tt = sum_over_lanes<Lanes>(sums.moments.w_tt);
    sums.moments.w_tv = sum_over_lanes<Lanes>(sums.moments.w_tv);
    sums.moments.w_vv = sum_over_lanes<Lanes>(sums.moments.w_vv);
#pragma unroll
    for (int c = 0; c < C; ++c) sums.e_g[c] = sum_over_lanes<Lanes>(sums.e_g[c]);
}

// The chain rule; one lane per Gaussian.
template <int C>
__device__ __forceinline__ void store_gradients(const Gaussians<float>& gaussians, const Gathering& g, Sums<C> sums,
                                                const Gradients<float>& gradients) {
    const int64_t i = g.index;
    GeometryGradient<float> v = {0.0f, 0.0f, 0.0f, 0.0f, 0.0f};
    float v_opacity = 0.0f;
    if (undefined(g.mean_x, g.mean_y, g.sigma_x, g.sigma_y, g.rho)) {
        const float nan = nanf("");
        v = {nan, nan, nan, nan, nan};
        v_opacity = nan;
#pragma unroll
        for (int c = 0; c < C; ++c) sums.e_g[c] = nan;
    } else if (g.pixels() > 0) {
        v = chain_rule(make_shape(g.sigma_x, g.sigma_y, g.rho), sums.moments);
#pragma unroll
        for (int c = 0; c < C; ++c) v_opacity = fused(gaussians.colors[C * i + c], sums.e_g[c], v_opacity);
        const float opacity = gaussians.opacities[i];
#pragma unroll
        for (int c = 0; c < C; ++c) sums.e_g[c] *= opacity;
    }
    gradients.means[2 * i] = v.mean_x;
    gradients.means[2 * i + 1] = v.mean_y;
    gradients.sigmas[2 * i] = v.sigma_x;
    gradients.sigmas[2 * i + 1] = v.sigma_y;
    gradients.rhos[i] = v.rho;
    gradients.opacities[i] = v_opacity;
#pragma unroll
    for (int c = 0; c < C; ++c) gradients.colors[C * i + c] = sums.e_g[c];
}

template <int C, int Lanes>
__global__ void __launch_bounds__(kBackwardThreads)
    gather_kernel(const __grid_constant__ Gaussians<float> gaussians, const Entry* table, float support,
                  const float* v_images, const __grid_constant__ Gradients<float> gradients) {
    const int lane = threadIdx.x % kWarp;
    const int64_t count = gaussians.B * gaussians.N;
    const int64_t warp = (static_cast<int64_t>(blockIdx.x) * kBackwardThreads + threadIdx.x) / kWarp;
    const int64_t first = warp * (kWarp / Lanes);  // the warp's first Gaussian
    if (first >= count) return;
    unsigned large = 0;  // the lanes whose Gaussian is left for the whole warp
    {
        // Groups past the end repeat the last Gaussian and store nothing: the shuffles want the whole warp.
        const int64_t i = first + lane / Lanes;
        const Gathering g = load_gaussian(gaussians, table, support, i < count ? i : count - 1);
        const bool is_large = Lanes < kWarp && g.pixels() > kLargeBox;
        if (Lanes < kWarp) large = __ballot_sync(kAllLanes, i < count && is_large);
        const bool own = i < count && !is_large;
        Sums<C> sums = {};
        if (own) sums = look_at_pixels<C, Lanes>(gaussians, g, v_images, lane % Lanes);
        add_up<C, Lanes>(sums);
        if (own && lane % Lanes == 0) store_gradients(gaussians, g, sums, gradients);
    }
    if (Lanes < kWarp) {
        while (large != 0) {
            const int group = (__ffs(large) - 1) / Lanes;
            large &= ~(((1u << Lanes % kWarp) - 1u) << group * Lanes);
            const Gathering g = load_gaussian(gaussians, table, support, first + group);
            Sums<C> sums = look_at_pixels<C, kWarp>(gaussians, g, v_images, lane);
            add_up<C, kWarp>(sums);
            if (lane == 0) store_gradients(gaussians, g, sums, gradients);
        }
    }
}

}  // namespace cuda
}  // namespace gsasr
