// The rasterizer on CPUs: what the binding calls, and what the units of all instruction sets share: the work of one tile
// or of one run of Gaussians, and a table of the functions that do it, one table per instruction set.
#pragma once

#include <cstdint>

#include "../common/instruction_set.h"
#include "gaussian.h"
#include "problem.h"

namespace gsasr {
namespace cpu {

struct Threads;

// output: flat, planar (C, H_i, W_i) from images[i].offset on; every pixel is written. The result is the same, bit for
// bit, whatever the number of threads. Scratch: 2 bytes per Gaussian, 16 bytes per band of 16 rows for every 32,768
// Gaussians, some 500 kB per thread.
template <class T>
void rasterize_forward(const Gaussians<T>& gaussians, const Image<T>* images, T support, T* output,
                       const Threads& threads);

// v_images: the gradient of the output, laid out as the output. Scratch: none.
template <class T>
void rasterize_backward(const Gaussians<T>& gaussians, const Image<T>* images, T support, const T* v_images,
                        const Gradients<T>& gradients, const Threads& threads);

// Images are drawn in tiles of this height, and of at most this width. Fixed numbers, so that the order of the sums, and
// with it every bit of the result, does not depend on the number of threads.
constexpr int kTileRows = 16;
constexpr int kTileColumns = 1024;

// A box that ends at most so many rows below a tile is drawn by that tile to its end, and not by the next one again: most
// Gaussians are read, prepared and drawn once.
constexpr int kOverhang = 8;
static_assert(kOverhang <= kTileRows, "a tile must not hang over into the band after the next");
constexpr int kScratchRows = kTileRows + kOverhang;

static inline int32_t band_of(int32_t row) { return static_cast<int32_t>(static_cast<uint32_t>(row) / kTileRows); }
static inline int32_t bands_of(int32_t H) { return band_of(H + kTileRows - 1); }

// The Gaussians of an image are sorted in parts of this size, independently of each other.
constexpr int64_t kPart = int64_t{1} << 15;

// The Gaussians of one part whose box begins in one band of kTileRows rows: ids[begin] up to the next bin's begin, first
// those that no other band has to draw, then those that reach further down, each in their own order.
struct Bin {
    int32_t begin, reaching;
    int32_t reach;  // how many bands have to draw the tallest box, this one included
    int32_t first;  // the first band from which this one has to draw a box of this part
};

// The sorted Gaussians of one part of one image. The key is twice the band in which a box begins, plus one where other
// bands have to draw it too; what certainly draws nothing has twice the number of bands.
struct Part {
    int64_t first;        // Gaussian, counted through all images
    const uint16_t* ids;  // counted from the first
    const Bin* bins;      // one per band of the image, and one for what draws nothing
};

struct Tile {
    int32_t image, band;
    int32_t left, right;
};

template <class T>
struct Kernels {
    // For the Gaussians begin .. end - 1 of one image (counted through all images): the key by which they are sorted, see
    // below, and how many bands have to draw them. Whether any of them has more than one.
    bool (*place)(const Gaussians<T>&, const Image<T>&, T support, int64_t begin, int64_t end, int32_t* keys,
                  int32_t* covered);
    // Draw one tile from the parts of its image; those of odd bands after all others. `scratch` holds scratch_elements
    // numbers of one thread.
    void (*draw)(const Gaussians<T>&, const Image<T>*, T support, const Part* parts, int64_t count, const Tile&,
                 T* scratch, T* output);
    // The gradients of the Gaussians begin .. end - 1 of all images, counted through.
    void (*gather)(const Gaussians<T>&, const Image<T>*, T support, const T* v_images, const Gradients<T>&,
                   int64_t begin, int64_t end);
};

// The widest vector is 16 lanes: a row of the scratch ends with that many unused elements.
constexpr int64_t kScratchStride = kTileColumns + 16;
constexpr int64_t scratch_elements(int C) { return int64_t{kScratchRows} * C * kScratchStride; }

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
