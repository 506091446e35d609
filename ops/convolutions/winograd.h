// The transformations of Winograd's minimal filtering, F(2 x 2, 3 x 3) and F(4 x 4, 3 x 3), along one axis, compiled once
// per instruction set.
//
// A square of SIDE x SIDE results comes of (SIDE + 2) x (SIDE + 2) pixels. These are transformed to as many numbers per
// channel, the weight too, once for all; a product for each of them and a transformation back give the results:
//     Y = A^T [(G g G^T) * (B^T d B)] A
// (A. Lavin and S. Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016): for 4 results 16 products in
// place of 36, for 16 results 36 in place of 144. The gradient of the weight comes of the same:
//     V_g = G^T [sum over squares of (A V_Y A^T) * (B^T d B)] G
//
// Included after the instruction set is chosen, for the reasons told in common/kernels.h.
#pragma once

#include "../common/simd.h"

namespace gsasr {
namespace cpu {
namespace GSASR_UNIT {
namespace {

template <int L>
GSASR_INLINE Vector<float, L> times(double factor, const Vector<float, L>& a) {
    return broadcast<float, L>(static_cast<float>(factor)) * a;
}

template <int SIDE>
struct Winograd;

// Of the points 0, 1, -1 and infinity.
template <>
struct Winograd<2> {
    template <int L>  // G g
    GSASR_INLINE void weight(const Vector<float, L>* g, Vector<float, L>* to) {
        const Vector<float, L> outer = times<L>(0.5, g[0] + g[2]), inner = times<L>(0.5, g[1]);
        to[0] = g[0];
        to[1] = outer + inner;
        to[2] = outer - inner;
        to[3] = g[2];
    }
    template <int L>  // B^T d
    GSASR_INLINE void pixels(const Vector<float, L>* d, Vector<float, L>* to) {
        to[0] = d[0] - d[2];
        to[1] = d[1] + d[2];
        to[2] = d[2] - d[1];
        to[3] = d[1] - d[3];
    }
    template <int L>  // A^T m
    GSASR_INLINE void back(const Vector<float, L>* m, Vector<float, L>* to) {
        to[0] = m[0] + m[1] + m[2];
        to[1] = m[1] - m[2] - m[3];
    }
    template <int L>  // A v
    GSASR_INLINE void gradient(const Vector<float, L>* v, Vector<float, L>* to) {
        to[0] = v[0];
        to[1] = v[0] + v[1];
        to[2] = v[0] - v[1];
        to[3] = Vector<float, L>{} - v[1];
    }
    template <int L>  // G^T u
    GSASR_INLINE void weight_back(const Vector<float, L>* u, Vector<float, L>* to) {
        const Vector<float, L> sum = times<L>(0.5, u[1] + u[2]);
        to[0] = u[0] + sum;
        to[1] = times<L>(0.5, u[1] - u[2]);
        to[2] = sum + u[3];
    }
};

// Of the points 0, a, -a, b, -b and infinity. With a = 2/3 and b = 3/2 what is rounded to bfloat16 loses least: results
// are off by 1.1 % at most, by 0.4 % where neighbouring pixels are alike, with the usual 1, 2 by 2.6 % and 0.4 %.
template <>
struct Winograd<4> {
    static constexpr double a = 2.0 / 3, b = 3.0 / 2, a2 = a * a, b2 = b * b;  // a b = 1
    static constexpr double n_a = 1 / (2 * a2 * (a2 - b2)), n_b = 1 / (2 * b2 * (b2 - a2));

    template <int L>
    GSASR_INLINE void weight(const Vector<float, L>* g, Vector<float, L>* to) {
        const Vector<float, L> even_a = times<L>(n_a, g[0]) + times<L>(n_a * a2, g[2]), odd_a = times<L>(n_a * a, g[1]);
        const Vector<float, L> even_b = times<L>(n_b, g[0]) + times<L>(n_b * b2, g[2]), odd_b = times<L>(n_b * b, g[1]);
        to[0] = g[0];
        to[1] = even_a + odd_a;
        to[2] = even_a - odd_a;
        to[3] = even_b + odd_b;
        to[4] = even_b - odd_b;
        to[5] = g[2];
    }
    template <int L>
    GSASR_INLINE void pixels(const Vector<float, L>* d, Vector<float, L>* to) {
        const Vector<float, L> even_a = d[4] - times<L>(b2, d[2]), odd_a = times<L>(a, d[3]) - times<L>(b, d[1]);
        const Vector<float, L> even_b = d[4] - times<L>(a2, d[2]), odd_b = times<L>(b, d[3]) - times<L>(a, d[1]);
        to[0] = d[0] - times<L>(a2 + b2, d[2]) + d[4];
        to[1] = even_a + odd_a;
        to[2] = even_a - odd_a;
        to[3] = even_b + odd_b;
        to[4] = even_b - odd_b;
        to[5] = d[1] - times<L>(a2 + b2, d[3]) + d[5];
    }
    template <int L>
    GSASR_INLINE void back(const Vector<float, L>* m, Vector<float, L>* to) {
        const Vector<float, L> even_a = m[1] + m[2], odd_a = m[1] - m[2], even_b = m[3] + m[4], odd_b = m[3] - m[4];
        to[0] = m[0] + even_a + even_b;
        to[1] = times<L>(a, odd_a) + times<L>(b, odd_b);
        to[2] = times<L>(a2, even_a) + times<L>(b2, even_b);
        to[3] = times<L>(a * a2, odd_a) + times<L>(b * b2, odd_b) + m[5];
    }
    template <int L>
    GSASR_INLINE void gradient(const Vector<float, L>* v, Vector<float, L>* to) {
        const Vector<float, L> even_a = v[0] + times<L>(a2, v[2]), odd_a = times<L>(a, v[1]) + times<L>(a * a2, v[3]);
        const Vector<float, L> even_b = v[0] + times<L>(b2, v[2]), odd_b = times<L>(b, v[1]) + times<L>(b * b2, v[3]);
        to[0] = v[0];
        to[1] = even_a + odd_a;
        to[2] = even_a - odd_a;
        to[3] = even_b + odd_b;
        to[4] = even_b - odd_b;
        to[5] = v[3];
    }
    template <int L>
    GSASR_INLINE void weight_back(const Vector<float, L>* u, Vector<float, L>* to) {
        const Vector<float, L> even_a = u[1] + u[2], odd_a = u[1] - u[2], even_b = u[3] + u[4], odd_b = u[3] - u[4];
        to[0] = u[0] + times<L>(n_a, even_a) + times<L>(n_b, even_b);
        to[1] = times<L>(n_a * a, odd_a) + times<L>(n_b * b, odd_b);
        to[2] = times<L>(n_a * a2, even_a) + times<L>(n_b * b2, even_b) + u[5];
    }
};

// Along both axes: `transform` makes TO vectors of FROM. load(y, x) gives what is transformed, put(y, x, values) takes the
// (TO, TO) that come of it.
template <int L, int FROM, int TO, class Transform, class Load, class Put>
GSASR_INLINE void transform_square(const Transform& transform, const Load& load, const Put& put) {
    Vector<float, L> half[FROM][TO];  // columns, transformed
    GSASR_UNROLL
    for (int x = 0; x < FROM; ++x) {
        Vector<float, L> column[FROM];
        GSASR_UNROLL
        for (int y = 0; y < FROM; ++y) column[y] = load(y, x);
        transform(column, half[x]);
    }
    GSASR_UNROLL
    for (int y = 0; y < TO; ++y) {
        Vector<float, L> row[FROM], transformed[TO];
        GSASR_UNROLL
        for (int x = 0; x < FROM; ++x) row[x] = half[x][y];
        transform(row, transformed);
        GSASR_UNROLL
        for (int x = 0; x < TO; ++x) put(y, x, transformed[x]);
    }
}

}  // namespace
}  // namespace GSASR_UNIT
}  // namespace cpu
}  // namespace gsasr
