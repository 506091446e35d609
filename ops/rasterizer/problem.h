// What a rasterizer is given: a batch of images of different sizes and scales, and the Gaussians that are drawn.
//
// Letters: B images, N Gaussians per image, C channels (1 to 4), H x W output pixels. The last dimension of coordinates
// is (x, y). Lengths are in LR pixels with the origin at the top-left corner of the image. Plain structs without any
// header of torch or CUDA: the CPU kernels, the CUDA kernels and the binding share them.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

namespace gsasr {

// The largest side of an output image: up to here (j + 0.5) is exact in float32.
constexpr int64_t kMaxSide = int64_t{1} << 23;
constexpr int kMaxChannels = 4;

// One output image. Pixel (i, j) samples the plane at y = (i + 0.5) / scale_y, x = (j + 0.5) / scale_x (Eq. 4).
template <class T>
struct Image {
    int64_t offset;            // first element of this image in the flat output; planar (C, rows, W) from there on
    int32_t H, W;
    int32_t first_row, end_row;  // only these rows are drawn: the output holds no others
    T scale_y, scale_x;        // output pixels per LR pixel
    T step_y, step_x;          // 1 / scale, rounded to T
    T step_low_y, step_low_x;  // what the rounding of the step lost: 1 / scale = step + step_low to twice the precision
    T window_y, window_x;      // half-widths of the authors' square window in LR pixels; infinity where there is none
};

// Contiguous inputs.
template <class T>
struct Gaussians {
    const T* means;      // (B, N, 2)
    const T* sigmas;     // (B, N, 2)
    const T* rhos;       // (B, N)
    const T* opacities;  // (B, N)
    const T* colors;     // (B, N, C)
    int64_t B, N;
    int C;
};

// Contiguous gradients, shaped as the inputs; every element is written.
template <class T>
struct Gradients {
    T* means;
    T* sigmas;
    T* rhos;
    T* opacities;
    T* colors;
};

// Pixels of one channel of the output.
template <class T>
static inline int64_t plane_of(const Image<T>& image) {
    return int64_t{image.end_row - image.first_row} * image.W;
}

// Describe one image, all of whose rows are drawn. `scale_*` are positive and finite, `window` is the authors' dmax: the
// half-width of a square in coordinates in which the image spans -1 to 1; not positive: no window.
template <class T>
static inline Image<T> make_image(int64_t offset, int64_t H, int64_t W, double scale_y, double scale_x, double window) {
    Image<T> image;
    image.offset = offset;
    image.H = static_cast<int32_t>(H);
    image.W = static_cast<int32_t>(W);
    image.first_row = 0;
    image.end_row = image.H;
    image.scale_y = static_cast<T>(scale_y);
    image.scale_x = static_cast<T>(scale_x);
    image.step_y = static_cast<T>(1.0 / scale_y);
    image.step_x = static_cast<T>(1.0 / scale_x);
    image.step_low_y = static_cast<T>(1.0 / scale_y - static_cast<double>(image.step_y));
    image.step_low_x = static_cast<T>(1.0 / scale_x - static_cast<double>(image.step_x));
    // Half of the image is H / scale_y / 2 LR pixels.
    const T none = std::numeric_limits<T>::infinity();
    image.window_y = window > 0 ? static_cast<T>(window * 0.5 * static_cast<double>(H) / scale_y) : none;
    image.window_x = window > 0 ? static_cast<T>(window * 0.5 * static_cast<double>(W) / scale_x) : none;
    return image;
}

}  // namespace gsasr
