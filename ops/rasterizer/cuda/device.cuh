// The few device functions that several kernels share.
#pragma once

#include <cstdint>

// Hooks for the tests that run these kernels on the CPU: they hand out poisoned shared memory, count the pixels that
// the render kernel evaluates and the steps that it takes to put Gaussians in order, forbid memory to be touched, and
// take the smaller ones of some limits, so that small problems meet them.
#ifndef GSASR_SHARED
#define GSASR_SHARED(Type, name) __shared__ Type name
#endif
#ifndef GSASR_EVALUATED
#define GSASR_EVALUATED(pixels)
#endif
#ifndef GSASR_ORDERED
#define GSASR_ORDERED(steps)
#endif
#ifndef GSASR_SMALLER
#define GSASR_SMALLER(in_tests, otherwise) otherwise
#endif
#ifndef GSASR_GUARD
#define GSASR_GUARD(memory, bytes, forbidden)
#endif

namespace gsasr {
namespace cuda {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;

// 2^x in one instruction (relative error 2^-22); results below the smallest normal number are zero.
__device__ __forceinline__ float exp2_fast(float x) {
#ifdef __CUDA_ARCH__
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#else
    return x < -126.0f ? 0.0f : exp2f(x);
#endif
}

// Sum over aligned groups of `Lanes` lanes; every lane of the group gets the same bits. The whole warp takes part.
template <int Lanes>
__device__ __forceinline__ float sum_over_lanes(float value) {
#pragma unroll
    for (int distance = Lanes / 2; distance > 0; distance /= 2) {
        value += __shfl_xor_sync(kAllLanes, value, distance);
    }
    return value;
}

// Shared memory for exclusive_scan. It may be used again after the caller's next barrier.
template <int Threads>
struct ScanShared {
    int32_t of_warp[Threads / kWarp];
};

// Exclusive prefix sum over a block of `Threads` threads, and the sum of all in `total`.
template <int Threads>
__device__ __forceinline__ int32_t exclusive_scan(int32_t value, ScanShared<Threads>& shared, int32_t& total) {
    const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
    int32_t inclusive = value;
#pragma unroll
    for (int distance = 1; distance < kWarp; distance *= 2) {
        const int32_t other = __shfl_up_sync(kAllLanes, inclusive, distance);
        if (lane >= distance) inclusive += other;
    }
    if (lane == kWarp - 1) shared.of_warp[warp] = inclusive;
    __syncthreads();
    int32_t before = 0;
    total = 0;
#pragma unroll
    for (int w = 0; w < Threads / kWarp; ++w) {
        if (w == warp) before = total;
        total += shared.of_warp[w];
    }
    return before + inclusive - value;
}

}  // namespace cuda
}  // namespace gsasr
