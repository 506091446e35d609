// 3 x 3 convolutions by Winograd's F(2 x 2, 3 x 3), compiled once per instruction set.
//
// A square of 2 x 2 results comes of 4 x 4 pixels. These are transformed to 16 numbers per channel, the weight too, once
// for all; 16 products over the channels and a transformation back replace the 36 of the definition:
//     Y = A^T [(G g G^T) * (B^T d B)] A
// (A. Lavin and S. Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016). A few squares at a time, which
// stay in the second cache.
//
// Included after the instruction set is chosen, for the reasons told in common/kernels.h.
#include "../common/products.h"
#include "cpu.h"

namespace gsasr {
namespace cpu {
namespace GSASR_UNIT {
namespace {

static_assert(kBlockSquares % kProductRows == 0, "blocks consist of whole tiles");
static_assert(kResultVectors <= 2, "the scratch must hold the results");

// G g along one axis.
template <int L>
GSASR_INLINE void transform_weight(const Vector<float, L>* g, Vector<float, L>* to) {
    const Vector<float, L> half = broadcast<float, L>(0.5f), outer = (g[0] + g[2]) * half, inner = g[1] * half;
    to[0] = g[0];
    to[1] = outer + inner;
    to[2] = outer - inner;
    to[3] = g[2];
}

// B^T d along one axis.
template <int L>
GSASR_INLINE void transform_pixels(const Vector<float, L>* d, Vector<float, L>* to) {
    to[0] = d[0] - d[2];
    to[1] = d[1] + d[2];
    to[2] = d[2] - d[1];
    to[3] = d[1] - d[3];
}

// A^T m along one axis.
template <int L>
GSASR_INLINE void transform_back(const Vector<float, L>* m, Vector<float, L>* to) {
    to[0] = m[0] + m[1] + m[2];
    to[1] = m[1] - m[2] - m[3];
}

// Along both axes: `transform` makes TO vectors of FROM; (FROM, FROM) to (TO, TO).
template <int L, int FROM, int TO, class Transform>
GSASR_INLINE void transform_square(const Vector<float, L> (&from)[FROM][FROM], Vector<float, L> (&to)[TO][TO],
                                   const Transform& transform) {
    Vector<float, L> half[FROM][TO];  // columns, transformed
    GSASR_UNROLL
    for (int x = 0; x < FROM; ++x) {
        Vector<float, L> column[FROM];
        GSASR_UNROLL
        for (int y = 0; y < FROM; ++y) column[y] = from[y][x];
        transform(column, half[x]);
    }
    GSASR_UNROLL
    for (int y = 0; y < TO; ++y) {
        Vector<float, L> row[FROM];
        GSASR_UNROLL
        for (int x = 0; x < FROM; ++x) row[x] = half[x][y];
        transform(row, to[y]);
    }
}

// The weight as kTransformed weights of rows, one after the other, each as pack_row puts it; zeros beyond the end.
template <int L, class E>
void pack_weight(const float* weight, int64_t C, int64_t outs, int64_t first, int64_t end, float* packed,
                 float* scratch) {
    const int64_t row = padded(C), words = words_of<typename WordsOf<E>::Type>(C), size = padded(outs) * padded(C);
    float* const taps = scratch + row;
    for (int64_t n = first; n < end; ++n) {
        for (int64_t tap = 0; tap < 9; ++tap) {
            fill_row(taps + tap * row, 0, row, 0.0f);
            for (int64_t c = 0; n < outs && c < C; ++c) taps[tap * row + c] = weight[(n * C + c) * 9 + tap];
        }
        for (int64_t position = 0; position < kTransformed; ++position) {
            for (int64_t c = 0; c < row; c += L) {
                Vector<float, L> g[3][3], transformed[4][4];
                for (int tap = 0; tap < 9; ++tap) g[tap / 3][tap % 3] = load<float, L>(taps + tap * row + c);
                transform_square<L, 3, 4>(g, transformed, transform_weight<L>);
                put_elements<L, E>(scratch, c, transformed[position / 4][position % 4]);
            }
            pack_row<L>(scratch, n, words, packed + position * size);
        }
    }
}

// A square of results: its image, and its first pixel.
struct Square {
    int64_t b, y, x;

    Square(const Convolution& problem, int64_t number)
        : b(number / (problem.square_rows() * problem.square_columns())),
          y(number / problem.square_columns() % problem.square_rows() * 2),
          x(number % problem.square_columns() * 2) {}
};

// The pixels around a square, transformed, as kTransformed rows of operands that lie `size` floats apart.
template <int L, class E, class X>
GSASR_INLINE void transform_around(const Convolution& problem, const Square& square, float* to, int64_t size) {
    const X* pixels[4][4];
    for (int i = 0; i < 16; ++i) {
        const int64_t y = square.y - 1 + i / 4, x = square.x - 1 + i % 4;
        const bool inside = y >= 0 && y < problem.H && x >= 0 && x < problem.W;
        pixels[i / 4][i % 4] = inside ? static_cast<const X*>(problem.x) + square.b * problem.x_image +
                                            y * problem.x_row + x * problem.x_pixel
                                      : nullptr;
    }
    for (int64_t c = 0; c < problem.C; c += L) {
        Vector<float, L> d[4][4], transformed[4][4];
        GSASR_UNROLL
        for (int i = 0; i < 16; ++i)
            d[i / 4][i % 4] = pixels[i / 4][i % 4] ? load_elements<L>(pixels[i / 4][i % 4] + c, problem.C - c)
                                                   : Vector<float, L>{};
        transform_square<L, 4, 4>(d, transformed, transform_pixels<L>);
        GSASR_UNROLL
        for (int i = 0; i < 16; ++i) put_elements<L, E>(to + i * size, c, transformed[i / 4][i % 4]);
    }
}

// VECTORS vectors of results from vector v on, of `squares` squares. `block` has their operands, see transform_around,
// and `products` is spare.
template <int L, int VECTORS, class Words, class Y>
GSASR_INLINE void convolve(const Convolution& problem, int64_t first, int64_t squares, int64_t v, const float* block,
                           int64_t stride, float* products) {
    const int64_t words = words_of<Words>(problem.C), size = padded(problem.outs) * padded(problem.C);
    for (int64_t position = 0; position < kTransformed; ++position)
        for (int64_t tile = 0; tile < squares; tile += kProductRows)
            multiply_tile<L, VECTORS, Words>(problem.packed.words + position * size + v * words * L, words,
                                             block + (position * kBlockSquares + tile) * stride, stride,
                                             products + (position * kBlockSquares + tile) * VECTORS * L);
    for (int64_t s = 0; s < squares; ++s) {
        const Square square(problem, first + s);
        for (int vector = 0; vector < VECTORS; ++vector) {
            const int64_t element = (v + vector) * L, count = problem.outs - element;
            Vector<float, L> m[4][4], results[2][2];
            GSASR_UNROLL
            for (int i = 0; i < 16; ++i)
                m[i / 4][i % 4] =
                    load<float, L>(products + ((i * kBlockSquares + s) * VECTORS + vector) * L);
            transform_square<L, 4, 2>(m, results, transform_back<L>);
            for (int i = 0; i < 4; ++i) {
                const int64_t y = square.y + i / 2, x = square.x + i % 2;
                if (y >= problem.H || x >= problem.W) continue;
                const int64_t at = ((square.b * problem.H + y) * problem.W + x) * problem.outs + element;
                Vector<float, L> values = results[i / 2][i % 2] + load<float, L>(problem.packed.bias + element);
                if (problem.residual) values += load_elements<L>(problem.residual + at, count);
                store_elements<L>(static_cast<Y*>(problem.output) + at, values, count);
            }
        }
    }
}

template <int L, class E, class Y>
void convolve_block(const Convolution& problem, int64_t first, float* scratch) {
    using Words = typename WordsOf<E>::Type;
    const int64_t left = problem.squares() - first, squares = left < kBlockSquares ? left : kBlockSquares;
    const int64_t stride = padded(problem.C) / Words::kElements, size = kBlockSquares * stride;
    float *const block = scratch, *const products = scratch + kTransformed * kBlockSquares * padded(problem.C);
    for (int64_t s = 0; s < squares; ++s) {
        const Square square(problem, first + s);
        if (problem.in_bfloat16)
            transform_around<L, E, BFloat16>(problem, square, block + s * stride, size);
        else
            transform_around<L, E, float>(problem, square, block + s * stride, size);
    }
    // The rest of the last tile is computed too, and not used.
    for (int64_t s = squares; s % kProductRows; ++s)
        for (int64_t position = 0; position < kTransformed; ++position)
            fill_row(block + position * size + s * stride, 0, stride, 0.0f);
    const int64_t vectors = (problem.outs + L - 1) / L;
    int64_t v = 0;
    for (; v + kResultVectors <= vectors; v += kResultVectors)
        convolve<L, kResultVectors, Words, Y>(problem, first, squares, v, block, stride, products);
    for (; v < vectors; ++v) convolve<L, 1, Words, Y>(problem, first, squares, v, block, stride, products);
}

template <int L, class E>
void apply_convolution(const Convolution& problem, int64_t first, float* scratch) {
    if (problem.output_in_bfloat16)
        convolve_block<L, E, BFloat16>(problem, first, scratch);
    else
        convolve_block<L, E, float>(problem, first, scratch);
}

}  // namespace
}  // namespace GSASR_UNIT
}  // namespace cpu
}  // namespace gsasr
