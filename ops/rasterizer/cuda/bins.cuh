// Filing the Gaussians under the cells of images.cuh, once per forward pass, so that tiles find them.
//
//   count    one thread per Gaussian: its cell, and the number of arrivals in that cell (integer atomics)
//   scan     where each cell begins (two launches)
//   scatter  one thread per Gaussian: its index goes into its cell, in the order of arrival, which differs between runs
//   order    one block per large cell: its indices in ascending order
//   pack     one thread per slot: its rank among the indices of its cell makes the order that of the indices, the same
//            in every run; the numbers that the tiles need are worked out here once and stored in that order
//
// Ranks by counting are quadratic in the number of Gaussians of one cell, but wholly parallel and without a
// barrier. The smallest level whose cells hold the box keeps that number at 14 to 56 for the paper's 16 Gaussians per
// LR pixel at their initial deviations, whatever the scale. Cells with more than kLargeCell, which no trained network
// makes, are put in order by a bit per Gaussian of the image instead: the indices are all different. That takes less
// time than the tiles around such a cell do to draw it.
#pragma once

#include "device.cuh"
#include "images.cuh"

namespace gsasr {
namespace cuda {

constexpr int kBinThreads = 256;
constexpr int kScanItems = GSASR_SMALLER(1, 8);  // numbers per thread
constexpr int kScanPiece = kBinThreads * kScanItems;
constexpr int32_t kMaxChunks = GSASR_SMALLER(2, 4096);  // of one or more pieces: each adds up the sums before its own
constexpr int32_t kNoCell = -1;
constexpr int32_t kLargeCell = 1024;  // Gaussians; more are put in order beforehand
constexpr int kOrderBlocks = GSASR_SMALLER(2, 256);  // at most; each needs a bit per Gaussian of an image

// What a tile needs of one Gaussian. With x, y the distances from the centre in LR pixels,
// exp(-q / 2) = 2^-(u^2 + z^2), u = x_u * x, z = x_z * x + y_z * y (gaussian.h with x and y exchanged: u is constant
// along a column of pixels).
template <int C>
struct alignas(16) Record {
    float mean_x, mean_y;
    float x_u, y_z, x_z;
    float color[C];  // times opacity
    Range columns, rows;  // pixels inside the box
};

// Where the bins are in device memory.
struct Bins {
    const Entry* table;   // (B)
    int32_t* starts;      // (cells + 1): arrivals while counting, afterwards the first slot of each cell
    int32_t* large;       // (1 + as many as there can be): how many large cells there are, and which, in any order
    int32_t* chunk_sums;  // (chunks of the scan)
    int32_t* cell_of;     // (B * N)
    int32_t* arrival;     // (B * N)
    int32_t* unordered;   // (B * N): indices of Gaussians by cell, in the order of arrival
    int32_t cells;
    int32_t chunk;        // cells in a chunk of the scan, whole pieces
};

__device__ __forceinline__ Range columns_of(const Image<float>& image, float mean_x, float sigma_x, float support) {
    return touched(mean_x, support * sigma_x, image.window_x, image.scale_x, image.W);
}
__device__ __forceinline__ Range rows_of(const Image<float>& image, float mean_y, float sigma_y, float support) {
    return touched(mean_y, support * sigma_y, image.window_y, image.scale_y, image.H);
}

__global__ void __launch_bounds__(kBinThreads)
    count_kernel(const __grid_constant__ Gaussians<float> gaussians, float support, const __grid_constant__ Bins bins) {
    const int64_t i = static_cast<int64_t>(blockIdx.x) * kBinThreads + threadIdx.x;
    if (i >= gaussians.B * gaussians.N) return;
    const float sigma_x = gaussians.sigmas[2 * i], sigma_y = gaussians.sigmas[2 * i + 1];
    int32_t cell = kNoCell;
    if (drawable(sigma_x, sigma_y, gaussians.rhos[i])) {
        const Entry& entry = bins.table[static_cast<uint32_t>(i) / static_cast<uint32_t>(gaussians.N)];
        const Image<float>& image = entry.image;
        const Range columns = columns_of(image, gaussians.means[2 * i], sigma_x, support);
        const Range rows = rows_of(image, gaussians.means[2 * i + 1], sigma_y, support);
        if (columns.first < columns.end && rows.first < rows.end) {
            const int32_t half = larger(columns.end - columns.first, rows.end - rows.first) / 2;
            Level level = first_level(entry);
            while (!fits(level, half)) level = next_level(image, level);
            const int32_t column = ((columns.first + columns.end - 1) / 2) >> level.log2_cell;
            const int32_t row = ((rows.first + rows.end - 1) / 2) >> level.log2_cell;
            cell = level.first_cell + row * level.columns + column;
            const int32_t arrival = atomicAdd(&bins.starts[cell], 1);
            bins.arrival[i] = arrival;
            // One of the Gaussians of a large cell meets this.
            if (arrival == kLargeCell) bins.large[1 + atomicAdd(&bins.large[0], 1)] = cell;
        }
    }
    bins.cell_of[i] = cell;
}

// Block c: the sum of the c-th chunk of arrivals.
__global__ void __launch_bounds__(kBinThreads) sum_chunks_kernel(const __grid_constant__ Bins bins) {
    GSASR_SHARED(ScanShared<kBinThreads>, shared);
    const int64_t first = static_cast<int64_t>(blockIdx.x) * bins.chunk;
    int32_t sum = 0;
    for (int64_t piece = first; piece < first + bins.chunk; piece += kScanPiece) {
#pragma unroll
        for (int k = 0; k < kScanItems; ++k) {
            const int64_t i = piece + k * kBinThreads + threadIdx.x;
            if (i < bins.cells) sum += bins.starts[i];
        }
    }
    int32_t total;
    exclusive_scan(sum, shared, total);
    if (threadIdx.x == 0) bins.chunk_sums[blockIdx.x] = total;
}

// Block c: the c-th chunk of arrivals becomes slots. Each block adds up the sums before its own: kMaxChunks numbers
// at most, less than another launch costs.
__global__ void __launch_bounds__(kBinThreads) scan_chunks_kernel(const __grid_constant__ Bins bins) {
    GSASR_SHARED(ScanShared<kBinThreads>, shared_before);
    GSASR_SHARED(ScanShared<kBinThreads>, shared_own);
    int32_t sum = 0;
    for (unsigned c = threadIdx.x; c < blockIdx.x; c += kBinThreads) sum += bins.chunk_sums[c];
    int32_t before;
    exclusive_scan(sum, shared_before, before);

    const int64_t chunk = static_cast<int64_t>(blockIdx.x) * bins.chunk;
    for (int64_t piece = chunk; piece < chunk + bins.chunk; piece += kScanPiece) {
        const int64_t first = piece + threadIdx.x * kScanItems;
        int32_t arrivals[kScanItems];
        sum = 0;
#pragma unroll
        for (int k = 0; k < kScanItems; ++k) {
            arrivals[k] = first + k < bins.cells ? bins.starts[first + k] : 0;
            sum += arrivals[k];
        }
        int32_t total;
        int32_t slot = before + exclusive_scan(sum, shared_own, total);
#pragma unroll
        for (int k = 0; k < kScanItems; ++k) {
            if (first + k < bins.cells) bins.starts[first + k] = slot;
            slot += arrivals[k];
        }
        before += total;
        __syncthreads();
    }
    if (threadIdx.x == 0 && blockIdx.x == gridDim.x - 1) bins.starts[bins.cells] = before;
}

__global__ void __launch_bounds__(kBinThreads) scatter_kernel(int64_t count, const __grid_constant__ Bins bins) {
    const int64_t i = static_cast<int64_t>(blockIdx.x) * kBinThreads + threadIdx.x;
    if (i >= count) return;
    const int32_t cell = bins.cell_of[i];
    if (cell != kNoCell) bins.unordered[bins.starts[cell] + bins.arrival[i]] = static_cast<int32_t>(i);
}

// The indices of each large cell, N of an image, in ascending order. bitmaps: (blocks, N bits in whole words).
__global__ void __launch_bounds__(kBinThreads)
    order_kernel(int64_t N, const __grid_constant__ Bins bins, uint32_t* bitmaps) {
    GSASR_SHARED(ScanShared<kBinThreads>, shared);
    const int32_t words = static_cast<int32_t>((N + 31) / 32);
    uint32_t* bitmap = bitmaps + static_cast<int64_t>(blockIdx.x) * words;
    const int32_t count = bins.large[0];
    for (int32_t l = blockIdx.x; l < count; l += gridDim.x) {
        const int32_t cell = bins.large[1 + l];
        const int32_t first = bins.starts[cell], end = bins.starts[cell + 1];
        const int32_t of_image = bins.unordered[first] / static_cast<int32_t>(N) * static_cast<int32_t>(N);
        for (int32_t w = threadIdx.x; w < words; w += kBinThreads) bitmap[w] = 0;
        __syncthreads();
        for (int32_t k = first + threadIdx.x; k < end; k += kBinThreads) {
            GSASR_ORDERED(1);
            const uint32_t bit = bins.unordered[k] - of_image;
            atomicOr(&bitmap[bit / 32], 1u << bit % 32);
        }
        __syncthreads();
        int32_t slot = first;
        for (int32_t first_word = 0; first_word < words; first_word += kBinThreads) {
            GSASR_ORDERED(1);
            const int32_t w = first_word + threadIdx.x;
            uint32_t word = w < words ? bitmap[w] : 0;
            int32_t total;
            int32_t own = slot + exclusive_scan(__popc(word), shared, total);
            for (; word != 0; word &= word - 1) bins.unordered[own++] = of_image + 32 * w + __ffs(word) - 1;
            slot += total;
            __syncthreads();
        }
    }
}

template <int C>
__global__ void __launch_bounds__(kBinThreads)
    pack_kernel(const __grid_constant__ Gaussians<float> gaussians, float support, const __grid_constant__ Bins bins,
                Record<C>* records) {
    const int64_t slot = static_cast<int64_t>(blockIdx.x) * kBinThreads + threadIdx.x;
    if (slot >= bins.starts[bins.cells]) return;
    const int32_t index = bins.unordered[slot];
    const int32_t cell = bins.cell_of[index];
    const int32_t first = bins.starts[cell], end = bins.starts[cell + 1];
    int32_t rank = static_cast<int32_t>(slot) - first;
    if (end - first <= kLargeCell) {
        GSASR_ORDERED(end - first);
        rank = 0;
        for (int32_t k = first; k < end; ++k) rank += bins.unordered[k] < index ? 1 : 0;
    }

    const int64_t i = index;
    const Image<float>& image = bins.table[static_cast<uint32_t>(index) / static_cast<uint32_t>(gaussians.N)].image;
    const float sigma_x = gaussians.sigmas[2 * i], sigma_y = gaussians.sigmas[2 * i + 1];
    const Shape<float> shape = make_shape(sigma_x, sigma_y, gaussians.rhos[i]);
    const float scale = 0.84932180f;  // sqrt(log2(e) / 2)
    const float finite = 3.4028234e38f;  // an infinity would make a NaN of a distance of zero
    Record<C> record;
    record.mean_x = gaussians.means[2 * i];
    record.mean_y = gaussians.means[2 * i + 1];
    record.x_u = scale * shape.inv_sigma_x;
    record.y_z = fminf(scale * shape.kappa * shape.inv_sigma_y, finite);
    record.x_z = fmaxf(fminf(scale * shape.kappa * -shape.rho * shape.inv_sigma_x, finite), -finite);
    const float opacity = gaussians.opacities[i];
#pragma unroll
    for (int c = 0; c < C; ++c) record.color[c] = opacity * gaussians.colors[C * i + c];
    record.columns = columns_of(image, record.mean_x, sigma_x, support);
    record.rows = rows_of(image, record.mean_y, sigma_y, support);
    records[first + rank] = record;
}

}  // namespace cuda
}  // namespace gsasr
