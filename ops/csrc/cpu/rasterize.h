// The CPU rasterizer as the binding sees it.
#pragma once

#include <cstdint>

#include "../problem.h"

namespace gsasr {
namespace cpu {

// Calls body(begin, end, context) for disjoint parts of 0 .. count, on several threads at once; no part is shorter than
// `grain` where that can be avoided. Returns when all is done.
using Body = void (*)(int64_t begin, int64_t end, void* context);
using ParallelFor = void (*)(int64_t count, int64_t grain, Body body, void* context);

struct Threads {
    ParallelFor parallel_for;
    int count;  // of threads that run at once
};

// output: flat, planar (C, H_i, W_i) from images[i].offset on; every pixel is written. The result is the same, bit for
// bit, whatever the number of threads. Scratch: 2 bytes per
// Gaussian, 16 bytes per band of 16 rows for every 32,768 Gaussians, some 500 kB per thread.
template <class T>
void rasterize_forward(const Gaussians<T>& gaussians, const Image<T>* images, T support, T* output,
                       const Threads& threads);

// v_images: the gradient of the output, laid out as the output. Scratch: none.
template <class T>
void rasterize_backward(const Gaussians<T>& gaussians, const Image<T>* images, T support, const T* v_images,
                        const Gradients<T>& gradients, const Threads& threads);

// The instruction sets that this library was compiled for and this machine has, best first, separated by spaces. The
// environment variable GSASR_CPU names another one than the best.
const char* instruction_sets();

}  // namespace cpu
}  // namespace gsasr
