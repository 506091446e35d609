// 3 x 3 convolutions by Winograd's minimal filtering (winograd.h), compiled once per instruction set. A few squares at a
// time, which stay in the second cache.
//
// Included after the instruction set is chosen, for the reasons told in common/kernels.h.
#include "../common/products.h"
#include "cpu.h"
#include "winograd.h"

namespace gsasr {
namespace cpu {
namespace GSASR_UNIT {
namespace {

static_assert(kBlockSquares % kProductRows == 0, "blocks consist of whole tiles");
static_assert(kResultVectors <= 2, "the scratch must hold the results");

// The weight as transformed(SIDE) weights of rows, one after the other, each as pack_row puts it; zeros beyond the end.
template <int L, class E, int SIDE>
void pack_weight(const float* weight, int64_t C, int64_t outs, int64_t first, int64_t end, float* packed,
                 float* scratch) {
    const int64_t row = padded(C), words = words_of<typename WordsOf<E>::Type>(C), size = padded(outs) * padded(C);
    float *const taps = scratch, *const rows = taps + 9 * row;
    for (int64_t n = first; n < end; ++n) {
        for (int64_t tap = 0; tap < 9; ++tap) {
            fill_row(taps + tap * row, 0, row, 0.0f);
            for (int64_t c = 0; n < outs && c < C; ++c) taps[tap * row + c] = weight[(n * C + c) * 9 + tap];
        }
        for (int64_t c = 0; c < row; c += L)
            transform_square<L, 3, SIDE + 2>(
                Winograd<SIDE>::template weight<L>,
                [&](int y, int x) { return load<float, L>(taps + (y * 3 + x) * row + c); },
                [&](int y, int x, const Vector<float, L>& values) {
                    put_elements<L, E>(rows + (y * (SIDE + 2) + x) * row, c, values);
                });
        for (int64_t position = 0; position < transformed(SIDE); ++position)
            pack_row<L>(rows + position * row, n, words, packed + position * size);
    }
}

// A square of results: its image, and its first pixel.
struct Square {
    int64_t b, y, x;

    Square(const Convolution& problem, int64_t number)
        : b(number / (problem.square_rows() * problem.square_columns())),
          y(number / problem.square_columns() % problem.square_rows() * problem.side),
          x(number % problem.square_columns() * problem.side) {}
};

// Where the pixels around a square lie, nullptr beyond the borders.
template <int SIDE, class X>
struct Around {
    const X* pixels[SIDE + 2][SIDE + 2];

    Around(const Convolution& problem, const Square& square) {
        for (int i = 0; i < transformed(SIDE); ++i) {
            const int64_t y = square.y - 1 + i / (SIDE + 2), x = square.x - 1 + i % (SIDE + 2);
            const bool inside = y >= 0 && y < problem.H && x >= 0 && x < problem.W;
            pixels[i / (SIDE + 2)][i % (SIDE + 2)] = inside ? static_cast<const X*>(problem.x) + square.b * problem.x_image +
                                                                  y * problem.x_row + x * problem.x_pixel
                                                            : nullptr;
        }
    }
};

// L channels of the pixels around a square, from c on, transformed: put(position, values).
template <int L, int SIDE, class X, class Put>
GSASR_INLINE void transform_around(const Around<SIDE, X>& around, int64_t c, int64_t C, const Put& put) {
    transform_square<L, SIDE + 2, SIDE + 2>(
        Winograd<SIDE>::template pixels<L>,
        [&](int y, int x) {
            const X* const pixel = around.pixels[y][x];
            return pixel ? load_elements<L>(pixel + c, C - c) : Vector<float, L>{};
        },
        [&](int y, int x, const Vector<float, L>& values) { put(y * (SIDE + 2) + x, values); });
}

// The pixels around a square, transformed, as rows of operands that lie `size` floats apart.
template <int L, class E, int SIDE, class X>
GSASR_INLINE void put_around(const Convolution& problem, const Square& square, float* to, int64_t size) {
    const Around<SIDE, X> around(problem, square);
    for (int64_t c = 0; c < problem.C; c += L)
        transform_around<L, SIDE>(around, c, problem.C, [&](int position, const Vector<float, L>& values) {
            put_elements<L, E>(to + position * size, c, values);
        });
}

// VECTORS vectors of results from vector v on, of `squares` squares. `block` has their operands, see put_around, and
// `products` is spare.
template <int L, int VECTORS, class Words, int SIDE, class Y>
GSASR_INLINE void convolve(const Convolution& problem, int64_t first, int64_t squares, int64_t v, const float* block,
                           int64_t stride, float* products) {
    constexpr int64_t kProducts = spaced(kBlockSquares * VECTORS * L);
    const int64_t words = words_of<Words>(problem.C), size = padded(problem.outs) * padded(problem.C);
    const int64_t block_size = spaced(kBlockSquares * stride);
    for (int64_t position = 0; position < transformed(SIDE); ++position)
        for (int64_t tile = 0; tile < squares; tile += kProductRows)
            multiply_tile<L, VECTORS, Words>(problem.packed.words + position * size + v * words * L, words,
                                             block + position * block_size + tile * stride, stride,
                                             products + position * kProducts + tile * VECTORS * L);
    for (int64_t s = 0; s < squares; ++s) {
        const Square square(problem, first + s);
        for (int vector = 0; vector < VECTORS; ++vector) {
            const int64_t element = (v + vector) * L, count = problem.outs - element;
            const float* const own = products + (s * VECTORS + vector) * L;
            const Vector<float, L> bias = load<float, L>(problem.packed.bias + element);
            transform_square<L, SIDE + 2, SIDE>(
                Winograd<SIDE>::template back<L>,
                [&](int y, int x) { return load<float, L>(own + (y * (SIDE + 2) + x) * kProducts); },
                [&](int row, int column, Vector<float, L> values) {
                    const int64_t y = square.y + row, x = square.x + column;
                    if (y >= problem.H || x >= problem.W) return;
                    const int64_t at = ((square.b * problem.H + y) * problem.W + x) * problem.outs + element;
                    values += bias;
                    if (problem.residual) values += load_elements<L>(problem.residual + at, count);
                    store_elements<L>(static_cast<Y*>(problem.output) + at, values, count);
                });
        }
    }
}

template <int L, class E, int SIDE, class Y>
void convolve_block(const Convolution& problem, int64_t first, float* scratch) {
    using Words = typename WordsOf<E>::Type;
    const int64_t left = problem.squares() - first, squares = left < kBlockSquares ? left : kBlockSquares;
    const int64_t stride = padded(problem.C) / Words::kElements, size = spaced(kBlockSquares * stride);
    float* const block = scratch;
    float* const products = scratch + transformed(SIDE) * spaced(kBlockSquares * padded(problem.C));
    for (int64_t s = 0; s < squares; ++s) {
        const Square square(problem, first + s);
        if (problem.in_bfloat16)
            put_around<L, E, SIDE, BFloat16>(problem, square, block + s * stride, size);
        else
            put_around<L, E, SIDE, float>(problem, square, block + s * stride, size);
    }
    // The rest of the last tile is computed too, and not used.
    for (int64_t s = squares; s % kProductRows; ++s)
        for (int64_t position = 0; position < transformed(SIDE); ++position)
            fill_row(block + position * size + s * stride, 0, stride, 0.0f);
    const int64_t vectors = (problem.outs + L - 1) / L;
    int64_t v = 0;
    for (; v + kResultVectors <= vectors; v += kResultVectors)
        convolve<L, kResultVectors, Words, SIDE, Y>(problem, first, squares, v, block, stride, products);
    for (; v < vectors; ++v) convolve<L, 1, Words, SIDE, Y>(problem, first, squares, v, block, stride, products);
}

template <int L, class E, int SIDE>
void apply_convolution(const Convolution& problem, int64_t first, float* scratch) {
    if (problem.output_in_bfloat16)
        convolve_block<L, E, SIDE, BFloat16>(problem, first, scratch);
    else
        convolve_block<L, E, SIDE, float>(problem, first, scratch);
}

}  // namespace
}  // namespace GSASR_UNIT
}  // namespace cpu
}  // namespace gsasr
