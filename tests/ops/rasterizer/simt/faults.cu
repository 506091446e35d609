// Small kernels with one fault each, which the shim has to notice: faults NAME SEED. Those named `sound_...` have none
// and have to pass. Output of the sound ones, and of `missing_barrier`: the sum that each block found.
#include <cuda_runtime.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <memory>

namespace {

constexpr unsigned kThreads = 64;
constexpr unsigned kAll = 0xffffffffu;

struct Numbers {
    int of_thread[kThreads];
};

__device__ int sum_of_warp(int value) {
    for (int distance = 16; distance > 0; distance /= 2) value += __shfl_xor_sync(kAll, value, distance);
    return value;
}

// Each thread hands its number to the thread opposite; without the barrier some read poison.
template <bool Barrier>
__global__ void exchange_kernel(int* sums) {
    GSASR_SHARED(Numbers, numbers);
    numbers.of_thread[threadIdx.x] = static_cast<int>(threadIdx.x);
    if (Barrier) __syncthreads();
    const int sum = sum_of_warp(numbers.of_thread[kThreads - 1 - threadIdx.x]);
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// Reads what it never wrote: the poison, never what the block before has left.
__global__ void stale_shared_kernel(int* sums) {
    GSASR_SHARED(Numbers, numbers);
    if (numbers.of_thread[threadIdx.x] == static_cast<int>(threadIdx.x)) simt::fail("shared memory lives on", __LINE__);
    numbers.of_thread[threadIdx.x] = static_cast<int>(threadIdx.x);
    if (threadIdx.x == 0) sums[blockIdx.x] = 0;
}

__global__ void shared_out_of_bounds_kernel(int* sums) {
    GSASR_SHARED(Numbers, numbers);
    numbers.of_thread[threadIdx.x] = 0;
    int* end = numbers.of_thread + kThreads;
    end[threadIdx.x == 5 ? 0 : -1] = 1;
    if (threadIdx.x == 0) sums[blockIdx.x] = 0;
}

__global__ void global_out_of_bounds_kernel(int* sums) { sums[blockIdx.x + (threadIdx.x == 5 ? gridDim.x : 0)] = 0; }

// The upper half of the warp is missing from the mask, though it calls.
__global__ void caller_not_in_mask_kernel(int* sums) {
    const unsigned votes = __ballot_sync(0xffffu, true);
    if (threadIdx.x == 0) sums[blockIdx.x] = static_cast<int>(votes);
}

// Half of the warp names all lanes, half only itself.
__global__ void masks_differ_kernel(int* sums) {
    const unsigned mask = threadIdx.x % 32 < 16 ? kAll : 0xffff0000u;
    sums[blockIdx.x] = static_cast<int>(__ballot_sync(mask, true) & 1u);
}

__global__ void source_not_in_mask_kernel(int* sums) {
    if (threadIdx.x < 8) sums[blockIdx.x] = __shfl_sync(0xffu, 1, static_cast<int>(threadIdx.x) + 4);
}

__global__ void different_operations_kernel(int* sums) {
    if (threadIdx.x % 2 == 0) {
        sums[blockIdx.x] = __shfl_xor_sync(kAll, 1, 1);
    } else {
        sums[blockIdx.x] = static_cast<int>(__ballot_sync(kAll, true) & 1u);
    }
}

__global__ void lane_has_ended_kernel(int* sums) {
    if (threadIdx.x % 32 == 7) return;
    sums[blockIdx.x] = sum_of_warp(1);
}

__global__ void thread_has_ended_kernel(int* sums) {
    if (threadIdx.x == 40) return;
    __syncthreads();
    sums[blockIdx.x] = 0;
}

__global__ void different_barriers_kernel(int* sums) {
    if (threadIdx.x < 32) {
        __syncthreads();
    } else {
        __syncthreads();
    }
    sums[blockIdx.x] = 0;
}

// One warp waits at a barrier, the other for a lane that waits there too.
__global__ void deadlock_kernel(int* sums) {
    if (threadIdx.x != 3) __syncwarp();
    __syncthreads();
    sums[blockIdx.x] = 0;
}

// Groups of eight lanes that leave a loop at different times are no fault.
__global__ void sound_groups_kernel(int* sums) {
    const unsigned lane = threadIdx.x % 32, group = lane / 8, mask = 0xffu << (8 * group);
    int sum = 0;
    for (unsigned k = 0; k <= group; ++k) {
        for (int distance = 4; distance > 0; distance /= 2) sum += __shfl_xor_sync(mask, static_cast<int>(k), distance);
    }
    sum = sum_of_warp(sum);
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) return 2;
    struct Case {
        const char* name;
        void (*kernel)(int*);
    };
    const Case cases[] = {
        {"sound_exchange", exchange_kernel<true>},
        {"sound_groups", sound_groups_kernel},
        {"missing_barrier", exchange_kernel<false>},
        {"sound_fresh_shared_memory", stale_shared_kernel},
        {"shared_out_of_bounds", shared_out_of_bounds_kernel},
        {"global_out_of_bounds", global_out_of_bounds_kernel},
        {"caller_not_in_mask", caller_not_in_mask_kernel},
        {"masks_differ", masks_differ_kernel},
        {"source_not_in_mask", source_not_in_mask_kernel},
        {"different_operations", different_operations_kernel},
        {"lane_has_ended", lane_has_ended_kernel},
        {"thread_has_ended", thread_has_ended_kernel},
        {"different_barriers", different_barriers_kernel},
        {"deadlock", deadlock_kernel},
    };
    simt::set_seed(static_cast<uint64_t>(std::atoi(argv[2])));
    for (const Case& chosen : cases) {
        if (std::string(argv[1]) != chosen.name) continue;
        const std::unique_ptr<int[]> sums(new int[3]);
        cudaLaunchConfig_t config = {};
        config.gridDim = dim3(3);
        config.blockDim = dim3(kThreads);
        if (cudaLaunchKernelEx(&config, chosen.kernel, sums.get()) != cudaSuccess) return 2;
        std::printf("%d %d %d\n", sums[0], sums[1], sums[2]);
        return 0;
    }
    std::fprintf(stderr, "unknown case %s\n", argv[1]);
    return 2;
}
