// The CPU rasterizer as the binding sees it.
#pragma once

#include <cstdint>

#include "../problem.h"
#include "threads.h"

namespace gsasr {
namespace cpu {

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

}  // namespace cpu
}  // namespace gsasr
