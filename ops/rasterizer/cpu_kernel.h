// The inner loops of the CPU rasterizer, compiled once per instruction set.
//
// Forward: a tile of 16 rows collects the Gaussians that reach it and adds them one after the other to accumulators in
// the cache; a Gaussian is drawn in blocks of L columns, row by row. Backward: each Gaussian gathers its moments over
// its own box, L columns at a time, in registers, and applies the chain rule once. Small boxes, of which there are many
// (14 pixels each at x1), take a shorter way through both.
//
// Both read and prepare Gaussians in chunks first, and the chain rule is applied to a chunk at once: arrays of numbers,
// computed by loops that the compiler vectorises, which matters as much as the pixels where boxes are small. With
// v' = c v and t' = c t, where c^2 = log2(e) / 2, exp(-q / 2) is 2^(-v'^2 - t'^2). Along rows and columns of the box v'
// and t' grow by constant steps:
//     v'(i) = v0 + i * v_row,    t'(i, j) = t0 + i * t_row + j * t_column.
// Where a Gaussian is strongly tilted (kappa > kTilted) most of its box is empty: there each row starts at the first
// pixel that matters, worked out in double precision, which also keeps t exact.
//
// Included after the instruction set is chosen, for the reasons told in common/kernels.h.
#include "../common/simd.h"
#include "cpu.h"

namespace gsasr {
namespace cpu {
namespace GSASR_UNIT {
namespace {

constexpr int kChunk = 64;
constexpr int kSmall = 4;  // boxes of at most so many rows and columns are small
constexpr double kFactor = 0.84932180028801904272;  // sqrt(log2(e) / 2)
constexpr double kLimit = 40.0;                     // kNegligible in powers of two
constexpr float kTilted = 2.0f;
// Steps are clamped here, so that no square overflows; a Gaussian with such a step is one pixel or none.
constexpr float kMaxStep = 1e15f;

template <class T>
GSASR_INLINE T clamp_step(T step) {
    const T limit = static_cast<T>(kMaxStep);
    return step > limit ? limit : (step < -limit ? -limit : step);
}

// Gaussians of one chunk. Rows and columns are those of the box, within the tile if there is one.
template <class T>
struct Chunk {
    int count;
    int64_t n[kChunk];  // counted through all images
    T mean_x[kChunk], mean_y[kChunk], sigma_x[kChunk], sigma_y[kChunk], rho[kChunk];
    T weight[kMaxChannels][kChunk];  // opacity * colour forward, colour backward
    T opacity[kChunk];
    int32_t top[kChunk], bottom[kChunk], left[kChunk], right[kChunk];
    int32_t box[kChunk];  // of a small box its index in BoxMasks, -1 for the others
    T v0[kChunk], v_row[kChunk], t0[kChunk], t_row[kChunk], t_column[kChunk];
    T inv_sigma_x[kChunk], inv_sigma_y[kChunk], kappa[kChunk];
};

// Element `part` of the `width` elements of each Gaussian. Those of a chunk mostly follow each other in memory: then the
// compiler makes vectors of the loop.
template <class T>
GSASR_INLINE void read_array(const Chunk<T>& chunk, bool consecutive, const T* from, int width, int part, T* to) {
    if (consecutive) {
        from += chunk.n[0] * width + part;
        for (int k = 0; k < kChunk; ++k) to[k] = from[k * width];
    } else {
        for (int k = 0; k < chunk.count; ++k) to[k] = from[chunk.n[k] * width + part];
    }
}

// A box without any pixel, or without any in the tile.
template <class T>
GSASR_INLINE bool empty(const Chunk<T>& chunk, int k) {
    return chunk.left[k] >= chunk.right[k] || chunk.top[k] >= chunk.bottom[k];
}

// The Gaussians chunk.n[0] .. chunk.n[count - 1].
template <class T, int C>
GSASR_INLINE void read(Chunk<T>& chunk, const Gaussians<T>& gaussians) {
    int64_t gaps = chunk.count - kChunk;
    for (int k = 0; k < kChunk; ++k) gaps |= chunk.n[k] - chunk.n[0] - k;
    const bool consecutive = gaps == 0;
    read_array(chunk, consecutive, gaussians.means, 2, 0, chunk.mean_x);
    read_array(chunk, consecutive, gaussians.means, 2, 1, chunk.mean_y);
    read_array(chunk, consecutive, gaussians.sigmas, 2, 0, chunk.sigma_x);
    read_array(chunk, consecutive, gaussians.sigmas, 2, 1, chunk.sigma_y);
    read_array(chunk, consecutive, gaussians.rhos, 1, 0, chunk.rho);
    read_array(chunk, consecutive, gaussians.opacities, 1, 0, chunk.opacity);
    for (int c = 0; c < C; ++c) read_array(chunk, consecutive, gaussians.colors, C, c, chunk.weight[c]);
}

// From the five numbers of the geometry to boxes and steps, within the rectangle top .. bottom, left .. right. Boxes that
// end at most `overhang` rows further down keep these rows.
template <class T>
GSASR_INLINE void prepare(Chunk<T>& chunk, const Image<T>& image, T support, int32_t top, int32_t bottom, int32_t left,
                          int32_t right, int32_t overhang) {
    const T factor = static_cast<T>(kFactor);
    // What lies beyond the count is computed too and never used: a fixed number of rounds vectorises best.
    for (int k = 0; k < kChunk; ++k) {
        const Range rows = touched(chunk.mean_y[k], support * chunk.sigma_y[k], image.window_y, image.scale_y, image.H);
        const Range columns =
            touched(chunk.mean_x[k], support * chunk.sigma_x[k], image.window_x, image.scale_x, image.W);
        const int32_t first_row = rows.first > top ? rows.first : top;
        const int32_t first_column = columns.first > left ? columns.first : left;
        chunk.top[k] = first_row;
        chunk.bottom[k] = rows.end <= bottom + overhang ? rows.end : bottom;
        chunk.left[k] = first_column;
        chunk.right[k] = columns.end < right ? columns.end : right;

        const Shape<T> shape = make_shape(chunk.sigma_x[k], chunk.sigma_y[k], chunk.rho[k]);
        const T u = shape.inv_sigma_x * distance(first_column, chunk.mean_x[k], image.step_x, image.step_low_x);
        const T v = shape.inv_sigma_y * distance(first_row, chunk.mean_y[k], image.step_y, image.step_low_y);
        const T v_step = factor * image.step_y * shape.inv_sigma_y;
        chunk.inv_sigma_x[k] = shape.inv_sigma_x;
        chunk.inv_sigma_y[k] = shape.inv_sigma_y;
        chunk.kappa[k] = shape.kappa;
        chunk.v0[k] = factor * v;
        chunk.v_row[k] = clamp_step(v_step);
        chunk.t0[k] = factor * tilted(shape, u, v);
        chunk.t_row[k] = clamp_step(-shape.kappa * shape.rho * v_step);
        chunk.t_column[k] = clamp_step(factor * shape.kappa * image.step_x * shape.inv_sigma_x);
    }
    // In loops of their own: conditions on numbers and on indices in one loop are not vectorised.
    for (int k = 0; k < kChunk; ++k) {
        const bool drawn = drawable(chunk.sigma_x[k], chunk.sigma_y[k], chunk.rho[k]);
        chunk.bottom[k] = drawn ? chunk.bottom[k] : chunk.top[k];
    }
    for (int k = 0; k < kChunk; ++k) {
        const int32_t height = chunk.bottom[k] - chunk.top[k], width = chunk.right[k] - chunk.left[k];
        const bool small = (height > 0) & (height <= kSmall) & (width > 0) & (width <= kSmall) &
                           (chunk.kappa[k] <= static_cast<T>(kTilted));
        chunk.box[k] = small ? (height - 1) * kSmall + width - 1 : -1;
    }
}

// The rows of a strongly tilted Gaussian, one at a time.
struct TiltedRows {
    double v0, v_row, t0, t_row, t_column;

    template <class T>
    GSASR_INLINE TiltedRows make(const Chunk<T>& chunk, int k, const Image<T>& image) {
        const double inv_sigma_x = 1.0 / static_cast<double>(chunk.sigma_x[k]);
        const double inv_sigma_y = 1.0 / static_cast<double>(chunk.sigma_y[k]);
        const double rho = static_cast<double>(chunk.rho[k]);
        const double kappa = 1.0 / std::sqrt((1.0 - rho) * (1.0 + rho));
        const double step_x = static_cast<double>(image.step_x) + static_cast<double>(image.step_low_x);
        const double step_y = static_cast<double>(image.step_y) + static_cast<double>(image.step_low_y);
        const double u = inv_sigma_x * ((chunk.left[k] + 0.5) * step_x - static_cast<double>(chunk.mean_x[k]));
        const double v = inv_sigma_y * ((chunk.top[k] + 0.5) * step_y - static_cast<double>(chunk.mean_y[k]));
        TiltedRows rows;
        rows.v0 = kFactor * v;
        rows.v_row = kFactor * step_y * inv_sigma_y;
        rows.t0 = kFactor * kappa * (u - rho * v);
        rows.t_row = -kappa * rho * rows.v_row;
        rows.t_column = kFactor * kappa * step_x * inv_sigma_x;
        return rows;
    }

    // The columns first .. end - 1 of row i (all counted from the box's corner) that are not negligible, v' of the row
    // and t' of the first of these columns. False where there are none.
    GSASR_INLINE bool row(const TiltedRows& rows, int i, int columns, int& first, int& end, float& v, float& t) {
        const double v_i = rows.v0 + i * rows.v_row;
        const double left = kLimit - v_i * v_i;
        if (!(left > 0)) return false;
        const double t_i = rows.t0 + i * rows.t_row;
        const double inverse = 1.0 / rows.t_column;
        const double half = std::sqrt(left) * inverse;
        const double from = -t_i * inverse - half;
        const double to = -t_i * inverse + half;
        if (!(from < columns) || !(to >= 0)) return false;
        first = from > 0 ? static_cast<int>(from) : 0;
        end = to < columns - 1 ? static_cast<int>(to) + 1 : columns;
        v = static_cast<float>(v_i);
        t = static_cast<float>(t_i + first * rows.t_column);
        return true;
    }
};

// ---------------------------------------------------------------------------------------------------- sorting ------

// Only rows are looked at: what no column of the image touches, and what is no Gaussian, is found when it is drawn.
template <class T>
bool place(const Gaussians<T>& gaussians, const Image<T>& image, T support, int64_t begin, int64_t end, int32_t* keys,
           int32_t* covered) {
    const T* means = gaussians.means;
    const T* sigmas = gaussians.sigmas;
    const Image<T> view = image;  // a copy: nothing that is written below can change it
    const int32_t nothing = 2 * bands_of(view.H);
    int32_t most = 1;
    for (int64_t n = begin; n < end; ++n) {
        const Range rows = touched(means[2 * n + 1], support * sigmas[2 * n + 1], view.window_y, view.scale_y, view.H);
        const int32_t first = band_of(rows.first), end_row = rows.end - kOverhang;
        const int32_t bands = end_row > rows.first ? band_of(end_row - 1) - first + 1 : 1;
        covered[n - begin] = bands;
        keys[n - begin] = rows.first < rows.end ? 2 * first + (bands > 1 ? 1 : 0) : nothing;
        most = bands > most ? bands : most;
    }
    return most > 1;
}

// Whether the tile that begins in row `top` has to draw a box which begins further up.
template <class T>
GSASR_INLINE bool reaches(T mean_y, T reach, const Image<T>& image, int32_t top) {
    return touched(mean_y, reach, image.window_y, image.scale_y, image.H).end > top + kOverhang;
}

// ------------------------------------------------------------------------------------------------ small boxes ------

// A box of at most kSmall x kSmall pixels is laid out whole in one to four vectors, 16 pixels row by row: without loops
// over rows and columns, and without lanes that are left empty. Float only: double precision is there for tests.

// Which of the 16 pixels belong to a box, by (height - 1) * kSmall + width - 1.
struct BoxMasks {
    int32_t lane[kSmall * kSmall][kSmall * kSmall];
    constexpr BoxMasks() : lane() {
        for (int box = 0; box < kSmall * kSmall; ++box)
            for (int k = 0; k < kSmall * kSmall; ++k)
                lane[box][k] = k / kSmall <= box / kSmall && k % kSmall <= box % kSmall ? -1 : 0;
    }
};
alignas(64) constexpr BoxMasks kBoxMasks;

// The part of the mask for one vector, from its first row on.
template <int L>
GSASR_INLINE Mask<float, L> box_mask(int32_t box, int row) {
    Mask<float, L> mask;
    std::memcpy(&mask, kBoxMasks.lane[box] + row * kSmall, sizeof mask);
    return mask;
}

alignas(64) constexpr float kRowRamp[kMaxLanes] = {0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3};
alignas(64) constexpr float kColumnRamp[kMaxLanes] = {0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3};

// v' and t' of L pixels of a small box, and their growth to the next L.
template <int L>
struct SmallBox {
    static constexpr int kRows = L / kSmall;  // in one vector
    Vector<float, L> v, t, v_step, t_step;

    GSASR_INLINE SmallBox first(const Chunk<float>& chunk, int k) {
        const Vector<float, L> rows = load<float, L>(kRowRamp);
        const Vector<float, L> v_row = broadcast<float, L>(chunk.v_row[k]), t_row = broadcast<float, L>(chunk.t_row[k]);
        SmallBox box;
        box.v = broadcast<float, L>(chunk.v0[k]) + rows * v_row;
        box.t = broadcast<float, L>(chunk.t0[k]) + rows * t_row +
                load<float, L>(kColumnRamp) * broadcast<float, L>(chunk.t_column[k]);
        box.v_step = broadcast<float, L>(float{kRows}) * v_row;
        box.t_step = broadcast<float, L>(float{kRows}) * t_row;
        return box;
    }
    GSASR_INLINE void next(SmallBox& box) {
        box.v += box.v_step;
        box.t += box.t_step;
    }
};

// ---------------------------------------------------------------------------------------------------- forward ------

// Add one Gaussian to `rows` rows of one block of at most L columns. `to` points to the first of these pixels in the
// accumulators of channel 0; channels follow each other at kScratchStride, rows at C times that.
template <class T, int L, int C>
GSASR_INLINE void draw_block(T* to, int rows, int columns, T t, T t_column, const T* t_of_row, const T* v2_of_row,
                             const T* weight) {
    const Vector<T, L> t_first = broadcast<T, L>(t) + ramp<T, L>() * broadcast<T, L>(t_column);
    Vector<T, L> color[C];
    const Mask<T, L> mask = first_lanes<T, L>(columns);
    // Columns beyond the box get a colour of zero.
    for (int c = 0; c < C; ++c) color[c] = keep<T, L>(broadcast<T, L>(weight[c]), mask);
    for (int i = 0; i < rows; ++i) {
        const Vector<T, L> t_i = t_first + broadcast<T, L>(t_of_row[i]);
        const Vector<T, L> falloff = Exp2<T, L>::call(broadcast<T, L>(v2_of_row[i]) - t_i * t_i);
        for (int c = 0; c < C; ++c) {
            T* pixel = to + c * kScratchStride;
            store<T, L>(pixel, load<T, L>(pixel) + falloff * color[c]);
        }
        to += C * kScratchStride;
    }
}

// Add one Gaussian with a small box and finite weights: what lies around the box gets zeros added.
template <int L, int C>
GSASR_INLINE void draw_small(const Chunk<float>& chunk, int k, int32_t top, int32_t left, float* scratch) {
    float* to = scratch + int64_t{chunk.top[k] - top} * C * kScratchStride + (chunk.left[k] - left);
    SmallBox<L> box = SmallBox<L>::first(chunk, k);
    Vector<float, kSmall> color[C];
    for (int c = 0; c < C; ++c) color[c] = broadcast<float, kSmall>(chunk.weight[c][k]);
    for (int i = 0; i < kSmall; i += SmallBox<L>::kRows) {
        const Vector<float, L> zero{};
        const Vector<float, L> falloff =
            keep<float, L>(Exp2<float, L>::call(zero - box.v * box.v - box.t * box.t), box_mask<L>(chunk.box[k], i));
        for (int r = 0; r < SmallBox<L>::kRows; ++r) {
            const Vector<float, kSmall> row = Fours<float, L>::row(falloff, r);
            for (int c = 0; c < C; ++c, to += kScratchStride)
                store<float, kSmall>(to, load<float, kSmall>(to) + row * color[c]);
        }
        SmallBox<L>::next(box);
    }
}

template <class T, int L, int C>
GSASR_INLINE void draw_gaussian(const Chunk<T>& chunk, int k, const Image<T>& image, int32_t top, int32_t left,
                                T* scratch) {
    const int rows = chunk.bottom[k] - chunk.top[k];
    const int columns = chunk.right[k] - chunk.left[k];
    T* to = scratch + int64_t{chunk.top[k] - top} * C * kScratchStride + (chunk.left[k] - left);
    T weight[C];
    for (int c = 0; c < C; ++c) weight[c] = chunk.weight[c][k];
    if (sizeof(T) == sizeof(float) && chunk.kappa[k] > kTilted) {
        const TiltedRows tilted_rows = TiltedRows::make(chunk, k, image);
        const T zero = 0;
        for (int i = 0; i < rows; ++i) {
            int first, end;
            float v, t;
            if (!TiltedRows::row(tilted_rows, i, columns, first, end, v, t)) continue;
            const T v2 = static_cast<T>(-v * v);
            for (int j = first; j < end; j += L)
                draw_block<T, L, C>(to + int64_t{i} * C * kScratchStride + j, 1, end - j,
                                    static_cast<T>(t) + static_cast<T>(j - first) * chunk.t_column[k],
                                    chunk.t_column[k], &zero, &v2, weight);
        }
        return;
    }
    T t_of_row[kScratchRows], v2_of_row[kScratchRows];
    for (int i = 0; i < kScratchRows; ++i) {
        const T v = chunk.v0[k] + static_cast<T>(i) * chunk.v_row[k];
        v2_of_row[i] = -v * v;
        t_of_row[i] = static_cast<T>(i) * chunk.t_row[k];
    }
    int j = 0;
    for (; columns - j > L / 2; j += L)
        draw_block<T, L, C>(to + j, rows, columns - j, chunk.t0[k] + static_cast<T>(j) * chunk.t_column[k],
                            chunk.t_column[k], t_of_row, v2_of_row, weight);
    // A remainder of half a vector is drawn by half vectors where these are no wider than the machine's.
    if (j < columns)
        draw_block<T, (L > 4 ? L / 2 : L), C>(to + j, rows, columns - j,
                                              chunk.t0[k] + static_cast<T>(j) * chunk.t_column[k], chunk.t_column[k],
                                              t_of_row, v2_of_row, weight);
}

template <class T, int L, int C>
void draw_tile(const Gaussians<T>& gaussians, const Image<T>& image, T support, const Part* parts, int64_t count,
               const Tile& tile, T* scratch, T* output) {
    const int32_t top = tile.band * kTileRows;
    const int32_t bottom = image.H - top < kTileRows ? image.H : top + kTileRows;
    const int32_t lowest = image.H - bottom < kOverhang ? image.H : bottom + kOverhang;
    std::memset(scratch, 0, sizeof(T) * static_cast<size_t>(scratch_elements(C)));
    Chunk<T> chunk;
    std::memset(&chunk, 0, sizeof chunk);
    const auto flush = [&] {
        read<T, C>(chunk, gaussians);
        prepare(chunk, image, support, top, bottom, tile.left, tile.right, kOverhang);
        for (int k = 0; k < kChunk; ++k) {
            T sum = 0;
            for (int c = 0; c < C; ++c) sum += chunk.weight[c][k] *= chunk.opacity[k];
            // An infinity or a NaN must not meet the zeros around a small box.
            chunk.box[k] = sum - sum == 0 ? chunk.box[k] : -1;
        }
        if constexpr (sizeof(T) == sizeof(float))
            for (int k = 0; k < chunk.count; ++k)
                if (chunk.box[k] >= 0) draw_small<L, C>(chunk, k, top, tile.left, scratch);
        for (int k = 0; k < chunk.count; ++k) {
            if (sizeof(T) == sizeof(float) && chunk.box[k] >= 0) continue;
            if (!empty(chunk, k)) draw_gaussian<T, L, C>(chunk, k, image, top, tile.left, scratch);
        }
        chunk.count = 0;
    };
    for (const Part* part = parts; part < parts + count; ++part)
        for (int32_t band = part->bins[tile.band].first; band <= tile.band; ++band) {
            const Bin& bin = part->bins[band];
            if (band + bin.reach <= tile.band) continue;
            const int32_t end = part->bins[band + 1].begin;
            for (int32_t s = band < tile.band ? bin.reaching : bin.begin; s < end; ++s) {
                const int64_t n = part->first + part->ids[s];
                if (band < tile.band &&
                    !reaches(gaussians.means[2 * n + 1], support * gaussians.sigmas[2 * n + 1], image, top))
                    continue;
                chunk.n[chunk.count++] = n;
                if (chunk.count == kChunk) flush();
            }
        }
    if (chunk.count) flush();
    // Even bands are drawn first and leave their overhang in the first rows of the odd ones, which are added to it. What
    // hangs over from an odd band is added to the even band below, which is complete but for this.
    const bool odd = tile.band % 2 != 0;
    const int32_t width = tile.right - tile.left;
    const int32_t first = top > image.first_row ? top : image.first_row;
    const int32_t end = lowest < image.end_row ? lowest : image.end_row;
    for (int c = 0; c < C; ++c)
        for (int32_t i = first; i < end; ++i) {
            const T* from = scratch + (int64_t{i - top} * C + c) * kScratchStride;
            T* to = output + image.offset + c * plane_of(image) + int64_t{i - image.first_row} * image.W + tile.left;
            if (odd && (i < top + kOverhang || i >= bottom))
                for (int32_t j = 0; j < width; ++j) to[j] += from[j];
            else
                std::memcpy(to, from, sizeof(T) * static_cast<size_t>(width));
        }
}

// --------------------------------------------------------------------------------------------------- backward ------

// Moments and, per channel, the sum of e * g; over the columns of one lane.
enum { kT, kV, kTT, kTV, kVV, kMoments };
template <class T, int L, int C>
struct Sums {
    Vector<T, L> of[kMoments + C];
};

// Add L pixels with the gradients g, which are zero outside of the box.
template <class T, int L, int C>
GSASR_INLINE void add(Sums<T, L, C>& sums, const Vector<T, L>& falloff, const Vector<T, L>& v, const Vector<T, L>& t,
                      const Vector<T, L>* g, const Vector<T, L>* color) {
    Vector<T, L> asked = broadcast<T, L>(T(0));
    for (int c = 0; c < C; ++c) {
        sums.of[kMoments + c] += falloff * g[c];
        asked += color[c] * g[c];
    }
    const Vector<T, L> w = falloff * asked;
    const Vector<T, L> w_t = w * t;
    const Vector<T, L> w_v = w * v;
    sums.of[kT] += w_t;
    sums.of[kV] += w_v;
    sums.of[kTT] += w_t * t;
    sums.of[kTV] += w_t * v;
    sums.of[kVV] += w_v * v;
}

// Add one block of at most L columns of `rows` rows to the moments. `from` points to the gradient of its first pixel.
template <class T, int L, int C, bool PARTIAL>
GSASR_INLINE void gather_block(Sums<T, L, C>& sums, const T* from, int64_t row_stride, int64_t plane, int rows,
                               int columns, T t, T t_column, const T* t_of_row, const T* v_of_row, const T* v2_of_row,
                               const Vector<T, L>* color) {
    Sums<T, L, C> local = sums;  // in registers
    const Vector<T, L> t_first = broadcast<T, L>(t) + ramp<T, L>() * broadcast<T, L>(t_column);
    const Mask<T, L> mask = first_lanes<T, L>(columns);
    for (int i = 0; i < rows; ++i) {
        const Vector<T, L> t_i = t_first + broadcast<T, L>(t_of_row[i]);
        const Vector<T, L> v_i = broadcast<T, L>(v_of_row[i]);
        const Vector<T, L> falloff = Exp2<T, L>::call(broadcast<T, L>(v2_of_row[i]) - t_i * t_i);
        Vector<T, L> g[C];
        for (int c = 0; c < C; ++c)
            g[c] = PARTIAL ? Partial<T, L>::load(from + c * plane, columns, mask) : load<T, L>(from + c * plane);
        add<T, L, C>(local, falloff, v_i, t_i, g, color);
        from += row_stride;
    }
    sums = local;
}

// The sums of one Gaussian, over all lanes.
template <class T, int C>
using Totals = T[kMoments + C];

// For a small box whose 16 pixels all lie within the image.
template <int L, int C>
GSASR_INLINE void gather_small(const Chunk<float>& chunk, int k, const Image<float>& image, const float* v_image,
                               Totals<float, C>& totals) {
    const int64_t plane = plane_of(image);
    const float* from = v_image + int64_t{chunk.top[k] - image.first_row} * image.W + chunk.left[k];
    SmallBox<L> box = SmallBox<L>::first(chunk, k);
    Vector<float, L> color[C];
    for (int c = 0; c < C; ++c) color[c] = broadcast<float, L>(chunk.weight[c][k]);
    Sums<float, L, C> sums{};
    for (int i = 0; i < kSmall; i += SmallBox<L>::kRows, from += SmallBox<L>::kRows * int64_t{image.W}) {
        const Vector<float, L> zero{};
        const Mask<float, L> mask = box_mask<L>(chunk.box[k], i);
        Vector<float, L> g[C];
        for (int c = 0; c < C; ++c) g[c] = keep<float, L>(Fours<float, L>::gather(from + c * plane, image.W), mask);
        add<float, L, C>(sums, Exp2<float, L>::call(zero - box.v * box.v - box.t * box.t), box.v, box.t, g, color);
        SmallBox<L>::next(box);
    }
    sums_of<float, L, kMoments + C>(sums.of, totals);
}

template <class T, int L, int C>
GSASR_INLINE void gather_gaussian(const Chunk<T>& chunk, int k, const Image<T>& image, const T* v_image,
                                  Totals<T, C>& totals) {
    const int rows = chunk.bottom[k] - chunk.top[k];
    const int columns = chunk.right[k] - chunk.left[k];
    const int64_t plane = plane_of(image);
    const T* from = v_image + int64_t{chunk.top[k] - image.first_row} * image.W + chunk.left[k];
    Vector<T, L> color[C];
    for (int c = 0; c < C; ++c) color[c] = broadcast<T, L>(chunk.weight[c][k]);
    Sums<T, L, C> sums{};
    const auto block = [&](const T* at, int count, int width, T t, const T* t_of_row, const T* v_of_row,
                           const T* v2_of_row) {
        if (width >= L)
            gather_block<T, L, C, false>(sums, at, image.W, plane, count, L, t, chunk.t_column[k], t_of_row, v_of_row,
                                         v2_of_row, color);
        else
            gather_block<T, L, C, true>(sums, at, image.W, plane, count, width, t, chunk.t_column[k], t_of_row,
                                        v_of_row, v2_of_row, color);
    };
    if (sizeof(T) == sizeof(float) && chunk.kappa[k] > kTilted) {
        const TiltedRows tilted_rows = TiltedRows::make(chunk, k, image);
        const T zero = 0;
        for (int i = 0; i < rows; ++i) {
            int first, end;
            float v, t;
            if (!TiltedRows::row(tilted_rows, i, columns, first, end, v, t)) continue;
            const T v_i = static_cast<T>(v), v2_i = static_cast<T>(-v * v);
            for (int j = first; j < end; j += L)
                block(from + int64_t{i} * image.W + j, 1, end - j,
                      static_cast<T>(t) + static_cast<T>(j - first) * chunk.t_column[k], &zero, &v_i, &v2_i);
        }
    } else {
        for (int i = 0; i < rows; i += kTileRows) {
            const int count = rows - i < kTileRows ? rows - i : kTileRows;
            T t_of_row[kTileRows], v_of_row[kTileRows], v2_of_row[kTileRows];
            for (int r = 0; r < kTileRows; ++r) {
                v_of_row[r] = chunk.v0[k] + static_cast<T>(i + r) * chunk.v_row[k];
                v2_of_row[r] = -v_of_row[r] * v_of_row[r];
                t_of_row[r] = static_cast<T>(i + r) * chunk.t_row[k];
            }
            for (int j = 0; j < columns; j += L)
                block(from + int64_t{i} * image.W + j, count, columns - j,
                      chunk.t0[k] + static_cast<T>(j) * chunk.t_column[k], t_of_row, v_of_row,
                      v2_of_row);
        }
    }
    sums_of<T, L, kMoments + C>(sums.of, totals);
}

// From the sums to the gradients of a chunk whose Gaussians follow each other.
template <class T, int C>
GSASR_INLINE void write_gradients(const Chunk<T>& chunk, const Totals<T, C>* totals, const Gradients<T>& gradients) {
    T means[2 * kChunk], sigmas[2 * kChunk], rhos[kChunk], opacities[kChunk], colors[C * kChunk];
    for (int k = 0; k < kChunk; ++k) {
        const T* total = totals[k];
        // Back from t' and v', and times the opacity, which was left out so far.
        const T inverse = static_cast<T>(1.0 / kFactor);
        const T once = chunk.opacity[k] * inverse, twice = once * inverse;
        Moments<T> moments;
        moments.w_t = once * total[kT];
        moments.w_v = once * total[kV];
        moments.w_tt = twice * total[kTT];
        moments.w_tv = twice * total[kTV];
        moments.w_vv = twice * total[kVV];
        Shape<T> shape;
        shape.inv_sigma_x = chunk.inv_sigma_x[k];
        shape.inv_sigma_y = chunk.inv_sigma_y[k];
        shape.rho = chunk.rho[k];
        shape.kappa = chunk.kappa[k];
        const GeometryGradient<T> v = chain_rule(shape, moments);
        means[2 * k] = v.mean_x;
        means[2 * k + 1] = v.mean_y;
        sigmas[2 * k] = v.sigma_x;
        sigmas[2 * k + 1] = v.sigma_y;
        rhos[k] = v.rho;
        T v_opacity = 0;
        for (int c = 0; c < C; ++c) {
            v_opacity += chunk.weight[c][k] * total[kMoments + c];
            colors[k * C + c] = chunk.opacity[k] * total[kMoments + c];
        }
        opacities[k] = v_opacity;
    }
    const auto write = [&](T* to, const T* from, int width) {
        std::memcpy(to + chunk.n[0] * width, from, sizeof(T) * static_cast<size_t>(chunk.count * width));
    };
    write(gradients.means, means, 2);
    write(gradients.sigmas, sigmas, 2);
    write(gradients.rhos, rhos, 1);
    write(gradients.opacities, opacities, 1);
    write(gradients.colors, colors, C);
}

template <class T>
GSASR_INLINE void fill(const Gradients<T>& gradients, int64_t n, int C, T value) {
    gradients.means[2 * n] = gradients.means[2 * n + 1] = value;
    gradients.sigmas[2 * n] = gradients.sigmas[2 * n + 1] = value;
    gradients.rhos[n] = gradients.opacities[n] = value;
    for (int c = 0; c < C; ++c) gradients.colors[n * C + c] = value;
}

template <class T, int L, int C>
void gather_run(const Gaussians<T>& gaussians, const Image<T>* images, T support, const T* v_images,
                const Gradients<T>& gradients, int64_t begin, int64_t end) {
    Chunk<T> chunk;
    std::memset(&chunk, 0, sizeof chunk);
    Totals<T, C> totals[kChunk] = {};
    while (begin < end) {
        const int64_t b = begin / gaussians.N;
        const Image<T>& image = images[b];
        const int64_t stop = (b + 1) * gaussians.N < end ? (b + 1) * gaussians.N : end;
        chunk.count = stop - begin < kChunk ? static_cast<int>(stop - begin) : kChunk;
        for (int k = 0; k < chunk.count; ++k) chunk.n[k] = begin + k;
        read<T, C>(chunk, gaussians);
        prepare(chunk, image, support, image.first_row, image.end_row, 0, image.W, 0);
        const T* v_image = v_images + image.offset;
        for (int k = 0; k < chunk.count; ++k) {
            if constexpr (sizeof(T) == sizeof(float))
                if (chunk.box[k] >= 0 && chunk.top[k] + kSmall <= image.end_row && chunk.left[k] + kSmall <= image.W) {
                    // Sums over wider vectors than of 8 lanes would cost more than these save.
                    gather_small<(L > 8 ? 8 : L), C>(chunk, k, image, v_image, totals[k]);
                    continue;
                }
            if (empty(chunk, k)) continue;
            if (L > 4 && chunk.right[k] - chunk.left[k] <= L / 2)
                gather_gaussian<T, (L > 4 ? L / 2 : L), C>(chunk, k, image, v_image, totals[k]);
            else
                gather_gaussian<T, L, C>(chunk, k, image, v_image, totals[k]);
        }
        write_gradients<T, C>(chunk, totals, gradients);
        for (int k = 0; k < chunk.count; ++k)
            if (empty(chunk, k)) {
                const bool nan = undefined(chunk.mean_x[k], chunk.mean_y[k], chunk.sigma_x[k], chunk.sigma_y[k],
                                           chunk.rho[k]);
                fill(gradients, chunk.n[k], C, nan ? std::numeric_limits<T>::quiet_NaN() : T(0));
            }
        begin += chunk.count;
    }
}

// ---------------------------------------------------------------------------------------------------- dispatch -----

template <class T, int L>
void draw(const Gaussians<T>& gaussians, const Image<T>* images, T support, const Part* parts, int64_t count,
          const Tile& tile, T* scratch, T* output) {
    const Image<T>& image = images[tile.image];
    switch (gaussians.C) {
        case 1: return draw_tile<T, L, 1>(gaussians, image, support, parts, count, tile, scratch, output);
        case 2: return draw_tile<T, L, 2>(gaussians, image, support, parts, count, tile, scratch, output);
        case 3: return draw_tile<T, L, 3>(gaussians, image, support, parts, count, tile, scratch, output);
        case 4: return draw_tile<T, L, 4>(gaussians, image, support, parts, count, tile, scratch, output);
    }
}

template <class T, int L>
void gather(const Gaussians<T>& gaussians, const Image<T>* images, T support, const T* v_images,
            const Gradients<T>& gradients, int64_t begin, int64_t end) {
    switch (gaussians.C) {
        case 1: return gather_run<T, L, 1>(gaussians, images, support, v_images, gradients, begin, end);
        case 2: return gather_run<T, L, 2>(gaussians, images, support, v_images, gradients, begin, end);
        case 3: return gather_run<T, L, 3>(gaussians, images, support, v_images, gradients, begin, end);
        case 4: return gather_run<T, L, 4>(gaussians, images, support, v_images, gradients, begin, end);
    }
}

}  // namespace

const Kernels<float>& float_kernels() {
    static const Kernels<float> kernels = {place<float>, draw<float, GSASR_LANES>, gather<float, GSASR_LANES>};
    return kernels;
}
const Kernels<double>& double_kernels() {
    static const Kernels<double> kernels = {place<double>, draw<double, GSASR_LANES / 2>,
                                             gather<double, GSASR_LANES / 2>};
    return kernels;
}

}  // namespace GSASR_UNIT
}  // namespace cpu
}  // namespace gsasr
