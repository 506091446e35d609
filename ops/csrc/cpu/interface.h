// What the units of the CPU rasterizer share: the work of one tile or of one run of Gaussians, and a table of the
// functions that do it, one table per instruction set.
#pragma once

#include <cstdint>

#include "../gaussian.h"
#include "../problem.h"
#include "instruction_set.h"

namespace gsasr {
namespace cpu {

// Images are drawn in tiles of this height, and of at most this width. Fixed numbers, so that the order of the sums, and
// with it every bit of the result, does not depend on the number of threads.
constexpr int kTileRows = 16;
constexpr int kTileColumns = 512;

// The Gaussians of all images, sorted by the band of kTileRows rows in which their box begins, in their own order within
// a band.
struct Bins {
    const int32_t* ids;      // (number of drawn Gaussians), each within its image
    const int32_t* ends;     // (B, N), the row after the last one of each Gaussian's box
    const int64_t* begin;    // (bands of all images + 1), where a band's ids begin
    const int32_t* reach;    // (bands of all images), how many bands the tallest box that begins here covers
};

struct Tile {
    int32_t image;
    int64_t first_band;  // of the image, in Bins
    int32_t band;        // within the image
    int32_t left, right;
};

template <class T>
struct Kernels {
    // For the Gaussians begin .. end - 1 of one image (counted through all images): the band in which the box begins, -1
    // for those that draw nothing, and the row after its last one.
    void (*place)(const Gaussians<T>&, const Image<T>&, T support, int64_t begin, int64_t end, int32_t* bands,
                  int32_t* ends);
    // Draw one tile. `scratch` holds scratch_elements numbers of one thread.
    void (*draw)(const Gaussians<T>&, const Image<T>*, T support, const Bins&, const Tile&, T* scratch, T* output);
    // The gradients of the Gaussians begin .. end - 1 of all images, counted through.
    void (*gather)(const Gaussians<T>&, const Image<T>*, T support, const T* v_images, const Gradients<T>&,
                   int64_t begin, int64_t end);
};

// The widest vector is 16 lanes: a row of the scratch ends with that many unused elements.
constexpr int64_t kScratchStride = kTileColumns + 16;
constexpr int64_t scratch_elements(int C) { return int64_t{kTileRows} * C * kScratchStride; }

namespace portable {
const Kernels<float>& float_kernels();
const Kernels<double>& double_kernels();
}  // namespace portable
#if defined(GSASR_DISPATCH_X86)
namespace avx2 {
const Kernels<float>& float_kernels();
const Kernels<double>& double_kernels();
}  // namespace avx2
namespace avx512 {
const Kernels<float>& float_kernels();
const Kernels<double>& double_kernels();
}  // namespace avx512
#endif

}  // namespace cpu
}  // namespace gsasr
