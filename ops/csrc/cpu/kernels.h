// The inner loops of the CPU rasterizer, compiled once per instruction set.
//
// Forward: a tile of 16 rows collects the Gaussians that reach it and adds them one after the other to accumulators in
// the cache; a Gaussian is drawn in blocks of L columns, row by row. Backward: each Gaussian gathers its moments over
// its own box, L columns at a time, in registers, and applies the chain rule once.
//
// Both prepare Gaussians in chunks first: arrays of numbers, computed by loops that the compiler vectorises. With
// v' = c v and t' = c t, where c^2 = log2(e) / 2, exp(-q / 2) is 2^(-v'^2 - t'^2). Along rows and columns of the box v'
// and t' grow by constant steps:
//     v'(i) = v0 + i * v_row,    t'(i, j) = t0 + i * t_row + j * t_column.
// Where a Gaussian is strongly tilted (kappa > kTilted) most of its box is empty: there each row starts at the first
// pixel that matters, worked out in double precision, which also keeps t exact.
//
// This file has to be included after the instruction set is chosen (GSASR_UNIT names its namespace), and everything in
// it has internal linkage or lives in that namespace: the linker must not merge functions of different sets.
#include "interface.h"
#include "simd.h"

namespace gsasr {
namespace cpu {
namespace GSASR_UNIT {
namespace {

constexpr int kChunk = 64;
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
    int32_t id[kChunk];
    T mean_x[kChunk], mean_y[kChunk], sigma_x[kChunk], sigma_y[kChunk], rho[kChunk];
    T weight[kMaxChannels][kChunk];  // opacity * colour forward, colour backward
    T opacity[kChunk];
    int32_t top[kChunk], bottom[kChunk], left[kChunk], right[kChunk];
    T v0[kChunk], v_row[kChunk], t0[kChunk], t_row[kChunk], t_column[kChunk];
    T inv_sigma_x[kChunk], inv_sigma_y[kChunk], kappa[kChunk];
};

template <class T>
GSASR_INLINE void read_gaussian(Chunk<T>& chunk, int k, const Gaussians<T>& gaussians, int64_t image, int32_t id) {
    const int64_t n = image * gaussians.N + id;
    chunk.id[k] = id;
    chunk.mean_x[k] = gaussians.means[2 * n];
    chunk.mean_y[k] = gaussians.means[2 * n + 1];
    chunk.sigma_x[k] = gaussians.sigmas[2 * n];
    chunk.sigma_y[k] = gaussians.sigmas[2 * n + 1];
    chunk.rho[k] = gaussians.rhos[n];
    chunk.opacity[k] = gaussians.opacities[n];
    for (int c = 0; c < gaussians.C; ++c) chunk.weight[c][k] = gaussians.colors[n * gaussians.C + c];
}

// From the five numbers of the geometry to boxes and steps, within the rectangle top .. bottom, left .. right.
template <class T>
GSASR_INLINE void prepare(Chunk<T>& chunk, const Image<T>& image, T support, int32_t top, int32_t bottom, int32_t left,
                          int32_t right) {
    const T factor = static_cast<T>(kFactor);
    // What lies beyond the count is computed too and never used: a fixed number of rounds vectorises best.
    for (int k = 0; k < kChunk; ++k) {
        const Range rows = touched(chunk.mean_y[k], support * chunk.sigma_y[k], image.window_y, image.scale_y, image.H);
        const Range columns =
            touched(chunk.mean_x[k], support * chunk.sigma_x[k], image.window_x, image.scale_x, image.W);
        const int32_t first_row = rows.first > top ? rows.first : top;
        const int32_t first_column = columns.first > left ? columns.first : left;
        chunk.top[k] = first_row;
        chunk.bottom[k] = rows.end < bottom ? rows.end : bottom;
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

template <class T>
void place(const Gaussians<T>& gaussians, const Image<T>& image, T support, int64_t begin, int64_t end, int32_t* bands,
           int32_t* ends) {
    const T* means = gaussians.means;
    const T* sigmas = gaussians.sigmas;
    const T* rhos = gaussians.rhos;
    const Image<T> view = image;  // a copy: nothing that is written below can change it
    for (int64_t n = begin; n < end; ++n) {
        const T sigma_x = sigmas[2 * n], sigma_y = sigmas[2 * n + 1];
        const Range rows = touched(means[2 * n + 1], support * sigma_y, view.window_y, view.scale_y, view.H);
        const Range columns = touched(means[2 * n], support * sigma_x, view.window_x, view.scale_x, view.W);
        // & and not &&: without branches the compiler makes vectors of this loop.
        const bool drawn = drawable(sigma_x, sigma_y, rhos[n]) & (rows.first < rows.end) & (columns.first < columns.end);
        bands[n] = drawn ? rows.first / kTileRows : -1;
        ends[n] = rows.end;
    }
}

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

template <class T, int L, int C>
GSASR_INLINE void draw_gaussian(const Chunk<T>& chunk, int k, const Image<T>& image, int32_t top, int32_t left, T* scratch) {
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
    T t_of_row[kTileRows], v2_of_row[kTileRows];
    for (int i = 0; i < kTileRows; ++i) {
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
void draw_tile(const Gaussians<T>& gaussians, const Image<T>& image, T support, const Bins& bins, const Tile& tile,
               T* scratch, T* output) {
    const int32_t top = tile.band * kTileRows;
    const int32_t bottom = image.H - top < kTileRows ? image.H : top + kTileRows;
    std::memset(scratch, 0, sizeof(T) * static_cast<size_t>(scratch_elements(C)));
    const int32_t* ends = bins.ends + tile.image * gaussians.N;
    Chunk<T> chunk;
    std::memset(&chunk, 0, sizeof chunk);
    chunk.count = 0;
    const auto flush = [&] {
        for (int c = 0; c < C; ++c)
            for (int k = 0; k < kChunk; ++k) chunk.weight[c][k] *= chunk.opacity[k];
        prepare(chunk, image, support, top, bottom, tile.left, tile.right);
        for (int k = 0; k < chunk.count; ++k)
            if (chunk.left[k] < chunk.right[k] && chunk.top[k] < chunk.bottom[k])
                draw_gaussian<T, L, C>(chunk, k, image, top, tile.left, scratch);
        chunk.count = 0;
    };
    for (int32_t band = 0; band <= tile.band; ++band) {
        if (band + bins.reach[tile.first_band + band] <= tile.band) continue;
        for (int64_t s = bins.begin[tile.first_band + band]; s < bins.begin[tile.first_band + band + 1]; ++s) {
            const int32_t id = bins.ids[s];
            if (ends[id] <= top) continue;
            read_gaussian(chunk, chunk.count++, gaussians, tile.image, id);
            if (chunk.count == kChunk) flush();
        }
    }
    if (chunk.count) flush();
    for (int c = 0; c < C; ++c)
        for (int32_t i = top; i < bottom; ++i)
            std::memcpy(output + image.offset + (int64_t{c} * image.H + i) * image.W + tile.left,
                        scratch + (int64_t{i - top} * C + c) * kScratchStride,
                        sizeof(T) * static_cast<size_t>(tile.right - tile.left));
}

// --------------------------------------------------------------------------------------------------- backward ------

// Moments and, per channel, the sum of e * g; over the columns of one lane.
enum { kT, kV, kTT, kTV, kVV, kMoments };
template <class T, int L, int C>
struct Sums {
    Vector<T, L> of[kMoments + C];
};

// Add one block of at most L columns of `rows` rows to the moments. `from` points to the gradient of its first pixel.
template <class T, int L, int C, bool PARTIAL>
GSASR_INLINE void gather_block(Sums<T, L, C>& sums, const T* from, int64_t row_stride, int64_t plane, int rows,
                               int columns, T t, T t_column, const T* t_of_row, const T* v_of_row, const T* weight) {
    Sums<T, L, C> local = sums;  // in registers
    const Vector<T, L> t_first = broadcast<T, L>(t) + ramp<T, L>() * broadcast<T, L>(t_column);
    const Mask<T, L> mask = first_lanes<T, L>(columns);
    for (int i = 0; i < rows; ++i) {
        const Vector<T, L> t_i = t_first + broadcast<T, L>(t_of_row[i]);
        const Vector<T, L> v_i = broadcast<T, L>(v_of_row[i]);
        const Vector<T, L> falloff = Exp2<T, L>::call(broadcast<T, L>(T(0)) - v_i * v_i - t_i * t_i);
        Vector<T, L> asked = broadcast<T, L>(T(0));
        for (int c = 0; c < C; ++c) {
            const Vector<T, L> g =
                PARTIAL ? Partial<T, L>::load(from + c * plane, columns, mask) : load<T, L>(from + c * plane);
            local.of[kMoments + c] += falloff * g;
            asked += broadcast<T, L>(weight[c]) * g;
        }
        const Vector<T, L> w = PARTIAL ? keep<T, L>(falloff * asked, mask) : falloff * asked;
        const Vector<T, L> w_t = w * t_i;
        const Vector<T, L> w_v = w * v_i;
        local.of[kT] += w_t;
        local.of[kV] += w_v;
        local.of[kTT] += w_t * t_i;
        local.of[kTV] += w_t * v_i;
        local.of[kVV] += w_v * v_i;
        from += row_stride;
    }
    sums = local;
}

template <class T, int L, int C>
GSASR_INLINE void gather_gaussian(const Chunk<T>& chunk, int k, const Image<T>& image, const T* v_image,
                                  const Gradients<T>& gradients, int64_t n) {
    const int rows = chunk.bottom[k] - chunk.top[k];
    const int columns = chunk.right[k] - chunk.left[k];
    const int64_t plane = int64_t{image.H} * image.W;
    const T* from = v_image + int64_t{chunk.top[k]} * image.W + chunk.left[k];
    T weight[C];
    for (int c = 0; c < C; ++c) weight[c] = chunk.weight[c][k];
    Sums<T, L, C> sums{};
    const auto block = [&](const T* at, int count, int width, T t, const T* t_of_row, const T* v_of_row) {
        if (width >= L)
            gather_block<T, L, C, false>(sums, at, image.W, plane, count, L, t, chunk.t_column[k], t_of_row, v_of_row,
                                         weight);
        else
            gather_block<T, L, C, true>(sums, at, image.W, plane, count, width, t, chunk.t_column[k], t_of_row,
                                        v_of_row, weight);
    };
    if (sizeof(T) == sizeof(float) && chunk.kappa[k] > kTilted) {
        const TiltedRows tilted_rows = TiltedRows::make(chunk, k, image);
        const T zero = 0;
        for (int i = 0; i < rows; ++i) {
            int first, end;
            float v, t;
            if (!TiltedRows::row(tilted_rows, i, columns, first, end, v, t)) continue;
            const T v_i = static_cast<T>(v);
            for (int j = first; j < end; j += L)
                block(from + int64_t{i} * image.W + j, 1, end - j,
                      static_cast<T>(t) + static_cast<T>(j - first) * chunk.t_column[k], &zero, &v_i);
        }
    } else {
        for (int i = 0; i < rows; i += kTileRows) {
            const int count = rows - i < kTileRows ? rows - i : kTileRows;
            T t_of_row[kTileRows], v_of_row[kTileRows];
            for (int r = 0; r < kTileRows; ++r) {
                v_of_row[r] = chunk.v0[k] + static_cast<T>(i + r) * chunk.v_row[k];
                t_of_row[r] = static_cast<T>(i + r) * chunk.t_row[k];
            }
            for (int j = 0; j < columns; j += L)
                block(from + int64_t{i} * image.W + j, count, columns - j,
                      chunk.t0[k] + static_cast<T>(j) * chunk.t_column[k], t_of_row, v_of_row);
        }
    }
    T total[kMoments + C];
    sums_of<T, L, kMoments + C>(sums.of, total);
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
    gradients.means[2 * n] = v.mean_x;
    gradients.means[2 * n + 1] = v.mean_y;
    gradients.sigmas[2 * n] = v.sigma_x;
    gradients.sigmas[2 * n + 1] = v.sigma_y;
    gradients.rhos[n] = v.rho;
    T v_opacity = 0;
    for (int c = 0; c < C; ++c) {
        const T asked = total[kMoments + c];
        v_opacity += weight[c] * asked;
        gradients.colors[n * C + c] = chunk.opacity[k] * asked;
    }
    gradients.opacities[n] = v_opacity;
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
    while (begin < end) {
        const int64_t b = begin / gaussians.N;
        const Image<T>& image = images[b];
        const int64_t stop = (b + 1) * gaussians.N < end ? (b + 1) * gaussians.N : end;
        chunk.count = 0;
        for (; begin < stop && chunk.count < kChunk; ++begin) {
            const int k = chunk.count;
            read_gaussian(chunk, k, gaussians, b, static_cast<int32_t>(begin - b * gaussians.N));
            if (undefined(chunk.mean_x[k], chunk.mean_y[k], chunk.sigma_x[k], chunk.sigma_y[k], chunk.rho[k]))
                fill(gradients, begin, C, std::numeric_limits<T>::quiet_NaN());
            else if (!drawable(chunk.sigma_x[k], chunk.sigma_y[k], chunk.rho[k]))
                fill(gradients, begin, C, T(0));
            else
                ++chunk.count;
        }
        prepare(chunk, image, support, 0, image.H, 0, image.W);
        for (int k = 0; k < chunk.count; ++k) {
            const int64_t n = b * gaussians.N + chunk.id[k];
            const int columns = chunk.right[k] - chunk.left[k];
            if (columns <= 0 || chunk.top[k] >= chunk.bottom[k])
                fill(gradients, n, C, T(0));
            else if (L > 4 && columns <= L / 2)
                gather_gaussian<T, (L > 4 ? L / 2 : L), C>(chunk, k, image, v_images + image.offset, gradients, n);
            else
                gather_gaussian<T, L, C>(chunk, k, image, v_images + image.offset, gradients, n);
        }
    }
}

// ---------------------------------------------------------------------------------------------------- dispatch -----

template <class T, int L>
void draw(const Gaussians<T>& gaussians, const Image<T>* images, T support, const Bins& bins, const Tile& tile, T* scratch,
          T* output) {
    const Image<T>& image = images[tile.image];
    switch (gaussians.C) {
        case 1: return draw_tile<T, L, 1>(gaussians, image, support, bins, tile, scratch, output);
        case 2: return draw_tile<T, L, 2>(gaussians, image, support, bins, tile, scratch, output);
        case 3: return draw_tile<T, L, 3>(gaussians, image, support, bins, tile, scratch, output);
        case 4: return draw_tile<T, L, 4>(gaussians, image, support, bins, tile, scratch, output);
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
