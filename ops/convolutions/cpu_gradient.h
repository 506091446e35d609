// The gradient of a convolution's weight by the same transformations (winograd.h), compiled once per instruction set.
// Words lie across squares (products.h). The gradient of the pixels is a convolution itself.
//
// Included after the instruction set is chosen, for the reasons told in common/kernels.h.
#include "cpu_kernel.h"

namespace gsasr {
namespace cpu {
namespace GSASR_UNIT {
namespace {

// Words across as many squares as a word has elements, of which there are `squares`: for each L channels from c on,
// transform(square, c, position -> values); rows of the transformed numbers lie `size` floats apart.
template <int L, class E, int SIDE, class Transform>
GSASR_INLINE void put_squares_across(int64_t squares, int64_t channels, float* to, int64_t size,
                                     const Transform& transform) {
    constexpr int kElements = WordsOf<E>::Type::kElements;
    for (int64_t c = 0; c < channels; c += L) {
        Vector<float, L> values[transformed(SIDE)][kElements] = {};
        for (int64_t i = 0; i < squares; ++i)
            transform(i, c, [&](int position, const Vector<float, L>& of_one) { values[position][i] = of_one; });
        for (int position = 0; position < transformed(SIDE); ++position)
            put_across<L, E>(values[position], to + position * size + c);
    }
}

template <int L, class E, int SIDE, class X>
GSASR_INLINE void put_pixels_across(const Convolution& problem, int64_t first, int64_t squares, float* to,
                                    int64_t size) {
    constexpr int kElements = WordsOf<E>::Type::kElements;
    const Around<SIDE, X> around[2] = {Around<SIDE, X>(problem, Square(problem, first)),
                                       Around<SIDE, X>(problem, Square(problem, first + squares - 1))};
    static_assert(kElements <= 2, "a word has two squares at most");
    put_squares_across<L, E, SIDE>(squares, problem.C, to, size, [&](int64_t i, int64_t c, const auto& put) {
        transform_around<L, SIDE>(around[i], c, problem.C, put);
    });
}

// The gradients of the squares' results likewise; adds their sum to that of the bias.
template <int L, class E, int SIDE, class V>
GSASR_INLINE void put_gradients_across(const ConvolutionGradient& problem, int64_t first, int64_t squares, float* to,
                                       int64_t size, float* bias) {
    const Convolution& forward = problem.forward;
    put_squares_across<L, E, SIDE>(squares, forward.outs, to, size, [&](int64_t i, int64_t n, const auto& put) {
        const Square square(forward, first + i);
        Vector<float, L> sum = load<float, L>(bias + n);
        transform_square<L, SIDE, SIDE + 2>(
            Winograd<SIDE>::template gradient<L>,
            [&](int row, int column) {
                const int64_t y = square.y + row, x = square.x + column;
                if (y >= forward.H || x >= forward.W) return Vector<float, L>{};
                const V* const pixel = static_cast<const V*>(problem.v_output) +
                                       ((square.b * forward.H + y) * forward.W + x) * forward.outs;
                const Vector<float, L> values = load_elements<L>(pixel + n, forward.outs - n);
                sum += values;
                return values;
            },
            [&](int y, int x, const Vector<float, L>& values) { put(y * (SIDE + 2) + x, values); });
        store<float, L>(bias + n, sum);
    });
}

template <int L, class E, int SIDE>
void differentiate_convolution(const ConvolutionGradient& problem, int64_t first, int64_t end, float* scratch,
                               float* sums) {
    using Words = typename WordsOf<E>::Type;
    constexpr int kElements = Words::kElements;
    const Convolution& forward = problem.forward;
    const int64_t C = padded(forward.C), outs = padded(forward.outs), words = words_of<Words>(end - first);
    const int64_t x_size = spaced(kGradientSquares * C), v_size = spaced(kGradientSquares * outs);
    float *const x_across = scratch, *const v_across = x_across + transformed(SIDE) * x_size;
    float* const bias = sums + transformed(SIDE) * position_sums(forward);
    for (int64_t w = 0; w < words; ++w) {
        const int64_t at = first + w * kElements, squares = end - at < kElements ? end - at : kElements;
        float *const x = x_across + w * C, *const v = v_across + w * outs;
        if (forward.in_bfloat16)
            put_pixels_across<L, E, SIDE, BFloat16>(forward, at, squares, x, x_size);
        else
            put_pixels_across<L, E, SIDE, float>(forward, at, squares, x, x_size);
        if (problem.v_in_bfloat16)
            put_gradients_across<L, E, SIDE, BFloat16>(problem, at, squares, v, v_size, bias);
        else
            put_gradients_across<L, E, SIDE, float>(problem, at, squares, v, v_size, bias);
    }
    for (int64_t position = 0; position < transformed(SIDE); ++position)
        add_products<L, Words>(v_across + position * v_size, 1, outs, forward.outs, x_across + position * x_size, C,
                               forward.C, words, sums + position * position_sums(forward));
}

template <int L, int SIDE>
void finish_gradient(const ConvolutionGradient& problem, const float* sums) {
    const Convolution& forward = problem.forward;
    const int64_t C = padded(forward.C), size = position_sums(forward);
    for (int64_t n = 0; n < forward.outs; ++n) {
        problem.v_bias[n] = sums[transformed(SIDE) * size + n];
        for (int64_t c = 0; c < forward.C; c += L) {
            float lanes[9][L];
            transform_square<L, SIDE + 2, 3>(
                Winograd<SIDE>::template weight_back<L>,
                [&](int y, int x) { return load<float, L>(sums + (y * (SIDE + 2) + x) * size + n * C + c); },
                [&](int y, int x, const Vector<float, L>& values) { store<float, L>(lanes[y * 3 + x], values); });
            for (int64_t l = 0; l < L && c + l < forward.C; ++l)
                for (int tap = 0; tap < 9; ++tap) problem.v_weight[(n * forward.C + c + l) * 9 + tap] = lanes[tap][l];
        }
    }
}

template <class E, int SIDE>
constexpr ConvolutionKernels convolution_kernels_of() {
    return {pack_weight<GSASR_LANES, E, SIDE>, apply_convolution<GSASR_LANES, E, SIDE>,
            differentiate_convolution<GSASR_LANES, E, SIDE>, finish_gradient<GSASR_LANES, SIDE>};
}

}  // namespace

AllConvolutionKernels convolution_kernels() {
    return {convolution_kernels_of<float, 2>(), convolution_kernels_of<BFloat16, 2>(),
            convolution_kernels_of<BFloat16, 4>()};
}

}  // namespace GSASR_UNIT
}  // namespace cpu
}  // namespace gsasr
