// The CUDA rasterizer as the binding sees it: plain C++, no header of torch or CUDA.
//
// Every pointer inside `gaussians`, `gradients`, `output`, `v_images` and `workspace` is device memory of the current
// device; `images` is host memory with one entry per image, read before the call returns. `stream` is a cudaStream_t.
// The calls only enqueue work on that stream: they neither allocate, nor copy from pageable memory, nor wait for the
// device, so they can be captured in a CUDA graph. The results are the same bits in every run.
//
// The functions that draw return nullptr, or what went wrong: a text that lives for ever, to be raised as it is.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../problem.h"

namespace gsasr {
namespace cuda {

// Bytes of scratch memory that the calls below need (aligned to 256 bytes, contents arbitrary): forward 60 bytes per
// Gaussian (76 with four channels), 4 per cell (never more than about two cells per Gaussian) and 64 per image;
// backward 64 per image. Never proportional to the number of pixels. 0 for a problem that the call would refuse.
size_t forward_workspace_bytes(const Image<float>* images, int64_t B, int64_t N, int C);
size_t backward_workspace_bytes(int64_t B);

// output: flat, planar (C, H_i, W_i) from images[i].offset on; every pixel of every image is written, N = 0 included.
// support: half-width of each Gaussian's box in standard deviations.
const char* rasterize_forward(const Gaussians<float>& gaussians, const Image<float>* images, float support,
                              float* output, void* workspace, void* stream);

// v_images: the gradient of the output, laid out as the output. Every element of the gradients is written.
const char* rasterize_backward(const Gaussians<float>& gaussians, const Image<float>* images, float support,
                               const float* v_images, const Gradients<float>& gradients, void* workspace,
                               void* stream);

}  // namespace cuda
}  // namespace gsasr
