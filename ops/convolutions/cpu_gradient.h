// The gradient of a convolution's weight by the same transformations, compiled once per instruction set:
//     V_g = G^T [sum over squares of (A V_Y A^T) * (B^T d B)] G
// with V_Y the gradient of a square's 2 x 2 results: 16 products in place of 36, summed over squares. Words lie across
// squares (products.h). The gradient of the pixels is a convolution itself.
//
// Included after the instruction set is chosen, for the reasons told in common/kernels.h.
#include "cpu_kernel.h"

namespace gsasr {
namespace cpu {
namespace GSASR_UNIT {
namespace {

// A v along one axis.
template <int L>
GSASR_INLINE void transform_gradient(const Vector<float, L>* v, Vector<float, L>* to) {
    to[0] = v[0];
    to[1] = v[0] + v[1];
    to[2] = v[0] - v[1];
    to[3] = Vector<float, L>{} - v[1];
}

// G^T u along one axis.
template <int L>
GSASR_INLINE void transform_weight_back(const Vector<float, L>* u, Vector<float, L>* to) {
    const Vector<float, L> half = broadcast<float, L>(0.5f), sum = (u[1] + u[2]) * half;
    to[0] = u[0] + sum;
    to[1] = (u[1] - u[2]) * half;
    to[2] = sum + u[3];
}

// The gradient of a square's results, transformed, as kTransformed rows of operands that lie `size` floats apart; adds
// their sum to that of the bias.
template <int L, class E, class V>
GSASR_INLINE void transform_gradient_of(const ConvolutionGradient& problem, const Square& square, float* to,
                                        int64_t size, float* bias) {
    const Convolution& forward = problem.forward;
    const V* pixels[4];
    for (int i = 0; i < 4; ++i) {
        const int64_t y = square.y + i / 2, x = square.x + i % 2;
        const V* const all = static_cast<const V*>(problem.v_output);
        pixels[i] = y < forward.H && x < forward.W
                        ? all + ((square.b * forward.H + y) * forward.W + x) * forward.outs
                        : nullptr;
    }
    for (int64_t n = 0; n < forward.outs; n += L) {
        Vector<float, L> v[2][2], transformed[4][4];
        GSASR_UNROLL
        for (int i = 0; i < 4; ++i)
            v[i / 2][i % 2] = pixels[i] ? load_elements<L>(pixels[i] + n, forward.outs - n) : Vector<float, L>{};
        transform_square<L, 2, 4>(v, transformed, transform_gradient<L>);
        store<float, L>(bias + n, load<float, L>(bias + n) + transformed[1][1]);  // the sum of all four
        GSASR_UNROLL
        for (int i = 0; i < 16; ++i) put_elements<L, E>(to + i * size, n, transformed[i / 4][i % 4]);
    }
}

template <int L, class E>
void differentiate_convolution(const ConvolutionGradient& problem, int64_t first, int64_t end, float* scratch,
                               float* sums) {
    using Words = typename WordsOf<E>::Type;
    constexpr int kElements = Words::kElements;
    const Convolution& forward = problem.forward;
    const int64_t C = padded(forward.C), outs = padded(forward.outs), words = words_of<Words>(end - first);
    // Of as many squares as a word has elements: kTransformed rows of each.
    float *const pixels = scratch, *const gradients = pixels + 2 * kTransformed * C;
    float *const x_across = gradients + 2 * kTransformed * outs;
    float *const v_across = x_across + kTransformed * kGradientSquares * C;
    float* const bias = sums + kTransformed * position_sums(forward);
    for (int64_t w = 0; w < words; ++w) {
        const int64_t at = first + w * kElements, squares = end - at < kElements ? end - at : kElements;
        for (int64_t i = 0; i < squares; ++i) {
            const Square square(forward, at + i);
            if (forward.in_bfloat16)
                transform_around<L, E, BFloat16>(forward, square, pixels + i * kTransformed * C, C);
            else
                transform_around<L, E, float>(forward, square, pixels + i * kTransformed * C, C);
            if (problem.v_in_bfloat16)
                transform_gradient_of<L, E, BFloat16>(problem, square, gradients + i * kTransformed * outs, outs, bias);
            else
                transform_gradient_of<L, E, float>(problem, square, gradients + i * kTransformed * outs, outs, bias);
        }
        for (int64_t position = 0; position < kTransformed; ++position) {
            const auto* const x = reinterpret_cast<const Stored<E>*>(pixels + position * C);
            const auto* const v = reinterpret_cast<const Stored<E>*>(gradients + position * outs);
            // A row of floats has room for kElements elements each.
            const int64_t x_square = kTransformed * C * kElements;
            const int64_t v_square = kTransformed * outs * kElements;
            pack_rows_across<L, E>(x, x_square, squares, forward.C, x_across + (position * kGradientSquares + w) * C);
            pack_rows_across<L, E>(v, v_square, squares, forward.outs, v_across + (position * kGradientSquares + w) * outs);
        }
    }
    for (int64_t position = 0; position < kTransformed; ++position)
        add_products<L, Words>(v_across + position * kGradientSquares * outs, 1, outs, forward.outs,
                               x_across + position * kGradientSquares * C, C, forward.C, words,
                               sums + position * position_sums(forward));
}

template <int L>
void finish_gradient(const ConvolutionGradient& problem, const float* sums) {
    const Convolution& forward = problem.forward;
    const int64_t C = padded(forward.C), size = position_sums(forward);
    for (int64_t n = 0; n < forward.outs; ++n) {
        problem.v_bias[n] = sums[kTransformed * size + n];
        for (int64_t c = 0; c < forward.C; c += L) {
            Vector<float, L> u[4][4], g[3][3];
            GSASR_UNROLL
            for (int i = 0; i < 16; ++i) u[i / 4][i % 4] = load<float, L>(sums + i * size + n * C + c);
            transform_square<L, 4, 3>(u, g, transform_weight_back<L>);
            float lanes[9][L];
            for (int tap = 0; tap < 9; ++tap) store<float, L>(lanes[tap], g[tap / 3][tap % 3]);
            for (int64_t l = 0; l < L && c + l < forward.C; ++l)
                for (int tap = 0; tap < 9; ++tap) problem.v_weight[(n * forward.C + c + l) * 9 + tap] = lanes[tap][l];
        }
    }
}

template <class E>
constexpr ConvolutionKernels convolution_kernels_of() {
    return {pack_weight<GSASR_LANES, E>, apply_convolution<GSASR_LANES, E>,
            differentiate_convolution<GSASR_LANES, E>, finish_gradient<GSASR_LANES>};
}

}  // namespace

AllConvolutionKernels convolution_kernels() {
    return {convolution_kernels_of<float>(), convolution_kernels_of<BFloat16>()};
}

}  // namespace GSASR_UNIT
}  // namespace cpu
}  // namespace gsasr
