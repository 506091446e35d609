// The mathematics of ONE Gaussian, for the CPU kernels and for the CUDA kernels alike.
//
// With dx, dy the distances from the centre in LR pixels, u = dx / sigma_x, v = dy / sigma_y and
// kappa = 1 / sqrt(1 - rho^2), the paper's Eq. 2 is f = exp(-q / 2) with
//
//     q = v^2 + t^2,    t = kappa * (u - rho * v),
//
// a sum of two squares: never negative, and free of the cancellation of (u^2 - 2 rho u v + v^2) / (1 - rho^2), which is
// off by more than 1 at rho = 0.999999 in float32. Along a row of pixels v is constant and t grows by a constant step.
//
// The cut-off, the same rule in every backend, forward and backward: a Gaussian reaches the pixels of the BOX
// |dx| <= support * sigma_x, |dy| <= support * sigma_y (the half-widths of its ellipse q = support^2 at any rho), and,
// where there is a window, |dx| < window_x and |dy| < window_y. It is a box and not the ellipse within: at 4.5 standard
// deviations the box loses 1.4e-5 of the mass and 1.5e-4 of the second moments, the ellipse 4e-5 and 4.5e-4, and the
// gradients of the deviations are those moments. Terms inside the box with q > kNegligible may be skipped: they are
// below 1e-12, too small to show in a float32 sum.
//
// A Gaussian whose sigmas are not positive or whose |rho| is not below 1 is none: it draws nothing, and its gradients
// are zero. One with a NaN in its means, sigmas or rho draws nothing either, and all its gradients are NaN, so that
// whoever looks at gradients sees it. A NaN in an opacity or a colour shows in the pixels of the box.
//
// All functions have internal linkage: units compiled for different instruction sets must not share an instance.
#pragma once

#include <cmath>
#include <cstdint>

#if defined(__CUDACC__)
#define GSASR_FUNCTION static __host__ __device__ __forceinline__
#else
#define GSASR_FUNCTION static inline
#endif

namespace gsasr {

// exp(-q / 2) is below 2^-40 beyond.
constexpr float kNegligible = 55.45f;

// The first pixel and the one after the last, along one axis; empty where first >= end.
struct Range {
    int32_t first, end;
};

// a * b + c in one rounding where the machine has it; a call into libm for it would cost more than the rest.
GSASR_FUNCTION float fused(float a, float b, float c) {
#if defined(__CUDA_ARCH__) || defined(__FMA__) || defined(GSASR_HAS_FMA) || defined(__aarch64__)
    return fmaf(a, b, c);
#else
    return a * b + c;
#endif
}
GSASR_FUNCTION double fused(double a, double b, double c) {
#if defined(__CUDA_ARCH__) || defined(__FMA__) || defined(GSASR_HAS_FMA) || defined(__aarch64__)
    return fma(a, b, c);
#else
    return a * b + c;
#endif
}

// Distance (LR pixels) from a centre's coordinate to the centre of pixel `index`, without the error that a rounded step
// has far from the origin.
template <class T>
GSASR_FUNCTION T distance(int32_t index, T mean, T step, T step_low) {
    const T position = static_cast<T>(index) + T(0.5);
    return fused(position, step_low, fused(position, step, -mean));
}

// Pixels along one axis of `size` pixels that lie within `reach` = support * sigma (closed) and `window` (open) of
// `mean`. Any NaN gives an empty range.
template <class T>
GSASR_FUNCTION Range touched(T mean, T reach, T window, T scale, int32_t size) {
    using std::ceil;
    using std::floor;
    // Pixel j lies at (j + 0.5) / scale.
    T lower = fused(mean - reach, scale, T(-0.5));
    T upper = fused(mean + reach, scale, T(-0.5));
    const T open_lower = fused(mean - window, scale, T(-0.5));
    const T open_upper = fused(mean + window, scale, T(-0.5));
    lower = ceil(lower);
    upper = floor(upper) + T(1);
    const T next = floor(open_lower) + T(1);
    const T previous = ceil(open_upper);
    lower = next > lower ? next : lower;
    upper = previous < upper ? previous : upper;
    // Comparisons are false for NaN: such a range ends at 0. Conversions happen inside 0 .. size only.
    Range range;
    range.first = lower > T(0) ? (lower < static_cast<T>(size) ? static_cast<int32_t>(lower) : size) : 0;
    range.end = upper > T(0) ? (upper < static_cast<T>(size) ? static_cast<int32_t>(upper) : size) : 0;
    return range;
}

// The parameters of f.
template <class T>
struct Shape {
    T inv_sigma_x, inv_sigma_y;
    T rho;
    T kappa;  // 1 / sqrt(1 - rho^2)
};

// False for what is no Gaussian, NaN included. Deviations below the smallest normal number have no reciprocal.
GSASR_FUNCTION bool drawable(float sigma_x, float sigma_y, float rho) {
    return sigma_x >= 1.17549435e-38f && sigma_y >= 1.17549435e-38f && fused(-rho, rho, 1.0f) > 0.0f;
}
GSASR_FUNCTION bool drawable(double sigma_x, double sigma_y, double rho) {
    return sigma_x >= 2.2250738585072014e-308 && sigma_y >= 2.2250738585072014e-308 && fused(-rho, rho, 1.0) > 0.0;
}

// Whether all gradients of this Gaussian have to be NaN.
template <class T>
GSASR_FUNCTION bool undefined(T mean_x, T mean_y, T sigma_x, T sigma_y, T rho) {
    return mean_x != mean_x || mean_y != mean_y || sigma_x != sigma_x || sigma_y != sigma_y || rho != rho;
}

// For a drawable Gaussian.
template <class T>
GSASR_FUNCTION Shape<T> make_shape(T sigma_x, T sigma_y, T rho) {
    using std::sqrt;
    Shape<T> shape;
    shape.inv_sigma_x = T(1) / sigma_x;
    shape.inv_sigma_y = T(1) / sigma_y;
    shape.rho = rho;
    // fma: 1 - rho^2 loses no digit however close rho is to 1.
    shape.kappa = T(1) / sqrt(fused(-rho, rho, T(1)));
    return shape;
}

// t = kappa * (u - rho * v)
template <class T>
GSASR_FUNCTION T tilted(const Shape<T>& shape, T u, T v) {
    return shape.kappa * fused(-shape.rho, v, u);
}

// What the backward pass sums over the box of one Gaussian, with e = exp(-q / 2), g the gradient of the image and
// w = e * opacity * (color . g). The chain rule is applied once, afterwards.
template <class T>
struct Moments {
    T w_t, w_v;          // sum of w * t, w * v
    T w_tt, w_tv, w_vv;  // sum of w * t^2, w * t * v, w * v^2
};

template <class T>
struct GeometryGradient {
    T mean_x, mean_y, sigma_x, sigma_y, rho;
};

// Gradients with respect to the geometry. From de = -e (v dv + t dt) and
//   dt/du = kappa,  dt/dv = -kappa rho,  dt/drho = kappa^2 rho t - kappa v,  u = t / kappa + rho v.
// (v_opacity is the sum of e * (color . g), v_color = opacity * sum of e * g.)
template <class T>
GSASR_FUNCTION GeometryGradient<T> chain_rule(const Shape<T>& shape, const Moments<T>& m) {
    const T kappa_rho = shape.kappa * shape.rho;
    GeometryGradient<T> v;
    v.mean_x = shape.inv_sigma_x * shape.kappa * m.w_t;
    v.mean_y = shape.inv_sigma_y * fused(-kappa_rho, m.w_t, m.w_v);
    v.sigma_x = shape.inv_sigma_x * fused(kappa_rho, m.w_tv, m.w_tt);
    v.sigma_y = shape.inv_sigma_y * fused(-kappa_rho, m.w_tv, m.w_vv);
    v.rho = shape.kappa * fused(-kappa_rho, m.w_tt, m.w_tv);
    return v;
}

}  // namespace gsasr
