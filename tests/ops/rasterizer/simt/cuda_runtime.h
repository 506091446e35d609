// Stands in for the toolkit's <cuda_runtime.h>: with this folder first on the include path, CUDA sources compile with
// g++ as they are and their kernels run on the CPU, under simt.h. It holds what this project's kernels use and no more:
// a kernel that needs another function of CUDA fails to compile until that function is given its meaning here.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include "simt.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __grid_constant__
#define __launch_bounds__(...)

// The kernels' hooks for tests.
#define GSASR_SHARED(Type, name) Type& name = *static_cast<Type*>(simt::shared_memory(sizeof(Type), __LINE__))
#define GSASR_EVALUATED(pixels) (simt::evaluated_pixels += (pixels))
#define GSASR_ORDERED(steps) (simt::ordering_steps += (steps))
#define GSASR_GUARD(memory, bytes, forbidden) simt::forbid(memory, static_cast<size_t>(bytes), forbidden)
#define GSASR_SMALLER(in_tests, otherwise) in_tests

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

using simt::blockIdx;
using simt::gridDim;
using simt::threadIdx;

// The line of the call, so that lanes that meet in different places are told apart.
#define SIMT_CALLER int line = __builtin_LINE()

inline void __syncthreads(SIMT_CALLER) { simt::synchronize_block(line); }
inline void __syncwarp(unsigned mask = 0xffffffffu, SIMT_CALLER) {
    simt::exchange(simt::Operation::synchronize, mask, 0, line);
}
inline unsigned __ballot_sync(unsigned mask, bool predicate, SIMT_CALLER) {
    const simt::Values& values = simt::exchange(simt::Operation::ballot, mask, predicate, line);
    unsigned votes = 0;
    for (unsigned lane = 0; lane < simt::kWarp; ++lane) {
        if (mask >> lane & 1u && values.of_lane[lane]) votes |= 1u << lane;
    }
    return votes;
}

namespace simt {
// The value of lane `source`, or the caller's own where `outside` its segment of lanes.
template <class T>
T shuffle(Operation operation, unsigned mask, T value, int source, bool outside, int line) {
    static_assert(sizeof(T) == sizeof(uint32_t), "32-bit shuffles only");
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    const Values& values = exchange(operation, mask, bits, line);
    if (outside) return value;
    if (!(mask >> source & 1u)) fail("a shuffle reads a lane that is not in the mask", line);
    std::memcpy(&value, &values.of_lane[source], sizeof value);
    return value;
}
}  // namespace simt

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, SIMT_CALLER) {
    const int first = simt::lane() / width * width;
    return simt::shuffle(simt::Operation::shuffle, mask, value, first + source % width, false, line);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned distance, int width = 32, SIMT_CALLER) {
    const int first = simt::lane() / width * width, source = simt::lane() - static_cast<int>(distance);
    return simt::shuffle(simt::Operation::shuffle_up, mask, value, source, source < first, line);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int other, int width = 32, SIMT_CALLER) {
    const int first = simt::lane() / width * width, source = simt::lane() ^ other;
    return simt::shuffle(simt::Operation::shuffle_xor, mask, value, source, source >= first + width, line);
}

inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
inline int __ffs(unsigned bits) { return __builtin_ffs(static_cast<int>(bits)); }
// Fibres change only inside collectives, so any read and write is atomic.
template <class T>
T atomicAdd(T* address, T value) {
    const T before = *address;
    *address += value;
    return before;
}
template <class T>
T atomicOr(T* address, T value) {
    const T before = *address;
    *address |= value;
    return before;
}

using cudaStream_t = struct CUstream_st*;
enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidConfiguration = 9 };
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline const char* cudaGetErrorString(cudaError_t error) {
    return error == cudaSuccess ? "no error" : "invalid configuration argument";
}
inline cudaError_t cudaMemsetAsync(void* memory, int value, size_t bytes, cudaStream_t) {
    std::memset(memory, value, bytes);
    return cudaSuccess;
}

struct cudaLaunchConfig_t {
    dim3 gridDim, blockDim;
    size_t dynamicSmemBytes;
    cudaStream_t stream;
};
// The whole grid runs before the call returns.
template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
    if (config->gridDim.x == 0 || config->blockDim.x == 0 || config->blockDim.x > 1024) {
        return cudaErrorInvalidConfiguration;
    }
    simt::launch(config->gridDim.x, config->blockDim.x, [&] { kernel(arguments...); });
    return cudaSuccess;
}
