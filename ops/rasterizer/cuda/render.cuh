// Forward pass: every pixel adds up the Gaussians whose box holds it, and is stored once. No atomics, no order that
// could differ between runs.
//
// A block of two warps renders a tile of 16 x 16 pixels; a lane owns four pixels of one column, and the four lanes of a
// group a square of 4 x 4, the unit that Gaussians are culled for: at x4 and initial deviations a tile of 16 x 16 meets
// 4 times as many Gaussians as one of its pixels lies in, a warp of 8 x 4 1.8 times, a square of 4 x 4 1.4 times.
//
//   1. The cells within reach form a few rows of cells on each level, each a contiguous run of records. One thread
//      looks up one run; a scan joins the runs to one long list of candidates.
//   2. Batches of candidates go to shared memory, with bit masks of the columns and rows of the tile inside the box. A
//      batch takes every n-th candidate: neighbours in the list are neighbours in the image, so a contiguous batch
//      would give all its work to a few groups while the others wait.
//   3. Each warp turns the masks, by ballots, into one list of candidates per group. Lane k of a group writes
//      what the k-th word of its group's ballots holds.
//   4. Each group walks its own list.
#pragma once

#include "bins.cuh"

namespace gsasr {
namespace cuda {

constexpr int kRenderThreads = 64;
constexpr int kGroup = 4;    // lanes per group, pixels per lane, and the side of the square of a group
constexpr int kBatch = 128;  // candidates in shared memory
constexpr int kWords = kBatch / kWarp;
constexpr int kGroups = kRenderThreads / kGroup;
constexpr int kListBytes = kBatch + 4;  // not all of them used: the eight groups of a warp read in different banks
static_assert(kTile * kTile == kRenderThreads * kGroup, "a lane owns four pixels");
static_assert(kWords == kGroup, "each lane of a group handles one word of its ballots");
static_assert(kBatch <= 256, "lists hold bytes");
static_assert(kListBytes % 8 == 4, "an odd number of words: eight lists begin in eight of the 32 banks");

template <int C>
struct alignas(16) Candidate {
    float mean_x, mean_y;
    float x_u, y_z, x_z;
    float color[C];
};

template <int C>
struct RenderShared {
    Candidate<C> candidates[kBatch];
    uint32_t inside[kBatch];        // columns of the tile inside the box (low half), rows (high half)
    uint8_t lists[kGroups][kListBytes];
    int32_t run_first[kRenderThreads];   // first record of each run
    int32_t run_offset[kRenderThreads];  // candidates before each run
    ScanShared<kRenderThreads> scan;
};

// A run of records: a row of cells on one level.
struct Run {
    int32_t first, length;
};

// The rows (or columns) of cells within reach of the pixels first .. last; `count` is the number there are.
__device__ __forceinline__ Range cells_near(int32_t first, int32_t last, int32_t log2_cell, int32_t count) {
    return {larger((first >> log2_cell) - kReach, 0), smaller((last >> log2_cell) + kReach + 1, count)};
}

// The `wanted`-th run around a tile of pixels x .. x_last, y .. y_last; empty if there are not so many. `runs`: how
// many there are.
__device__ __forceinline__ Run find_run(const Entry& entry, const int32_t* starts, int32_t x, int32_t x_last, int32_t y,
                                        int32_t y_last, int32_t wanted, int32_t& runs) {
    Run run = {0, 0};
    runs = 0;
    Level level = first_level(entry);
    for (;;) {
        const Range rows = cells_near(y, y_last, level.log2_cell, level.rows);
        const int32_t row = rows.first + wanted - runs;
        if (wanted >= runs && row < rows.end) {
            const Range columns = cells_near(x, x_last, level.log2_cell, level.columns);
            const int32_t* cells = starts + level.first_cell + row * level.columns;
            run.first = cells[columns.first];
            run.length = cells[columns.end] - run.first;
        }
        runs += rows.end - rows.first;
        if (is_last(entry.image, level)) return run;
        level = next_level(entry.image, level);
    }
}

// Bits first .. end - 1 of a tile that begins at pixel `begin`.
__device__ __forceinline__ uint32_t bits_inside(Range range, int32_t begin) {
    const int32_t first = smaller(larger(range.first - begin, 0), kTile);
    const int32_t end = smaller(larger(range.end - begin, 0), kTile);
    return ((1u << end) - 1u) & ~((1u << first) - 1u);
}

template <int C>
__global__ void __launch_bounds__(kRenderThreads, 16)
    render_kernel(const Entry* table, int32_t B, const int32_t* starts, const Record<C>* records, float* output) {
    GSASR_SHARED(RenderShared<C>, shared);
    const int thread = threadIdx.x, lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
    const Entry& entry = table[image_of_tile(table, B, blockIdx.x)];
    const Image<float> image = entry.image;
    const int32_t tile = blockIdx.x - entry.first_tile;
    const int32_t tile_x = tile % entry.tiles_x * kTile;
    const int32_t tile_y = (tile / entry.tiles_x + image.first_row / kTile) * kTile;

    // This lane's pixels, and its group's square (in fours of pixels).
    const int32_t x = lane % kTile;
    const int32_t y = warp * (kTile / 2) + lane / kTile * kGroup;
    const int square_x = x / kGroup, square_y = y / kGroup;
    const int group = thread / kGroup, lane_of_group = lane % kGroup;
    const float position_x = static_cast<float>(tile_x + x) + 0.5f;
    const float position_y = static_cast<float>(tile_y + y) + 0.5f;
    float sum[kGroup][C];
#pragma unroll
    for (int r = 0; r < kGroup; ++r) {
#pragma unroll
        for (int c = 0; c < C; ++c) sum[r][c] = 0.0f;
    }

    for (int32_t first_run = 0, runs = 1; first_run < runs; first_run += kRenderThreads) {
        const Run run = find_run(entry, starts, tile_x, smaller(tile_x + kTile, image.W) - 1, tile_y,
                                 smaller(tile_y + kTile, image.H) - 1, first_run + thread, runs);
        int32_t total;
        shared.run_offset[thread] = exclusive_scan(run.length, shared.scan, total);
        shared.run_first[thread] = run.first;
        const int32_t batches = (total + kBatch - 1) / kBatch;
        for (int32_t batch = 0; batch < batches; ++batch) {
            __syncthreads();
#pragma unroll
            for (int slot = thread; slot < kBatch; slot += kRenderThreads) {
                const int64_t candidate = static_cast<int64_t>(slot) * batches + batch;
                uint32_t inside = 0;
                if (candidate < total) {
                    // The last run that does not begin after the candidate.
                    int low = 0;
#pragma unroll
                    for (int step = kRenderThreads / 2; step > 0; step /= 2) {
                        if (shared.run_offset[low + step] <= candidate) low += step;
                    }
                    const Record<C> record =
                        records[shared.run_first[low] + (static_cast<int32_t>(candidate) - shared.run_offset[low])];
                    Candidate<C> kept;
                    kept.mean_x = record.mean_x;
                    kept.mean_y = record.mean_y;
                    kept.x_u = record.x_u;
                    kept.y_z = record.y_z;
                    kept.x_z = record.x_z;
#pragma unroll
                    for (int c = 0; c < C; ++c) kept.color[c] = record.color[c];
                    shared.candidates[slot] = kept;
                    inside = bits_inside(record.columns, tile_x) | bits_inside(record.rows, tile_y) << kTile;
                }
                shared.inside[slot] = inside;
            }
            __syncthreads();

            // Which candidates meet the square of this lane's group: lane k of the group keeps word k.
            uint32_t word = 0;
#pragma unroll
            for (int w = 0; w < kWords; ++w) {
                const uint32_t inside = shared.inside[w * kWarp + lane];
                uint32_t meets_x = 0, meets_y = 0;
#pragma unroll
                for (int s = 0; s < kTile / kGroup; ++s) {
                    const uint32_t votes = __ballot_sync(kAllLanes, (inside >> (s * kGroup) & 0xfu) != 0);
                    if (s == square_x) meets_x = votes;
                }
#pragma unroll
                for (int s = 0; s < kTile / kGroup / 2; ++s) {
                    const int row = warp * (kTile / 2) + s * kGroup;
                    const uint32_t votes = __ballot_sync(kAllLanes, (inside >> (kTile + row) & 0xfu) != 0);
                    if (s == square_y % 2) meets_y = votes;
                }
                if (w == lane_of_group) word = meets_x & meets_y;
            }
            int32_t position = __popc(word);
            const int32_t own = position;
#pragma unroll
            for (int distance = 1; distance < kGroup; distance *= 2) {
                const int32_t other = __shfl_up_sync(kAllLanes, position, distance, kGroup);
                if (lane_of_group >= distance) position += other;
            }
            const int32_t length = __shfl_sync(kAllLanes, position, kGroup - 1, kGroup);
            position -= own;
            while (word != 0) {
                shared.lists[group][position++] = static_cast<uint8_t>(lane_of_group * kWarp + __ffs(word) - 1);
                word &= word - 1;
            }
            __syncwarp();

            for (int32_t i = 0; i < length; ++i) {
                const int slot = shared.lists[group][i];
                const Candidate<C> g = shared.candidates[slot];
                const uint32_t inside = shared.inside[slot];
                const uint32_t rows = (inside >> x & 1u) != 0 ? inside >> (kTile + y) : 0;
                const float dx = fused(position_x, image.step_low_x, fused(position_x, image.step_x, -g.mean_x));
                const float u = g.x_u * dx, minus_uu = -u * u, z_x = g.x_z * dx;
                GSASR_EVALUATED(kGroup);
#pragma unroll
                for (int r = 0; r < kGroup; ++r) {
                    const float p = position_y + static_cast<float>(r);
                    const float dy = fused(p, image.step_low_y, fused(p, image.step_y, -g.mean_y));
                    const float z = fused(g.y_z, dy, z_x);
                    const float e = exp2_fast(fused(-z, z, minus_uu));
                    if ((rows >> r & 1u) != 0) {
#pragma unroll
                        for (int c = 0; c < C; ++c) sum[r][c] = fused(e, g.color[c], sum[r][c]);
                    }
                }
            }
        }
        __syncthreads();
    }

    if (tile_x + x < image.W) {
        const int64_t plane = static_cast<int64_t>(image.end_row - image.first_row) * image.W;
        float* pixel =
            output + image.offset + static_cast<int64_t>(tile_y + y - image.first_row) * image.W + tile_x + x;
#pragma unroll
        for (int r = 0; r < kGroup; ++r) {
            if (tile_y + y + r >= image.first_row && tile_y + y + r < image.end_row) {
#pragma unroll
                for (int c = 0; c < C; ++c) pixel[c * plane] = sum[r][c];
            }
            pixel += image.W;
        }
    }
}

}  // namespace cuda
}  // namespace gsasr
