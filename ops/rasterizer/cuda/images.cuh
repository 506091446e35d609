// The table of images in device memory, and the grids of cells that each image is divided into.
//
// Cells: a Gaussian is filed under the pixel in the middle of its box (the box clipped to the image, so that a centre
// far outside needs no special case). An image has several levels of square cells, each level's cells twice as large as
// the last one's. A Gaussian lives on the first level on which its box reaches no further than kReach cells from the
// middle. Any positive sigma has its level, a few huge Gaussians do not slow down the rest, and a tile
// finds all that can touch it within kReach cells on each level.
#pragma once

#include <cstdint>

#include "../gaussian.h"
#include "../problem.h"

namespace gsasr {
namespace cuda {

constexpr int kReach = 2;         // in cells; 2 keeps the neighbourhood of a tile close to what can touch the tile
constexpr int kTile = 16;         // pixels along a side of the square that a block renders
constexpr int kMinLog2Cell = 1;   // the smallest cell is 2 x 2 pixels

// One row of the table: 80 bytes.
struct alignas(16) Entry {
    Image<float> image;
    int32_t first_tile;  // number of tiles of all images before this one
    int32_t tiles_x;     // tiles in a row of tiles, the first of which holds the first row that is drawn
    int32_t first_cell;  // number of cells of all images before this one
    int32_t log2_cell;   // side of the cells of the first level, as a power of two
};
static_assert(sizeof(Entry) == 80, "the table is copied to the device in rows of 80 bytes");

struct Level {
    int32_t log2_cell;
    int32_t columns, rows;
    int32_t first_cell;
};

GSASR_FUNCTION int32_t larger(int32_t a, int32_t b) { return a > b ? a : b; }
GSASR_FUNCTION int32_t smaller(int32_t a, int32_t b) { return a < b ? a : b; }

GSASR_FUNCTION Level make_level(const Image<float>& image, int32_t log2_cell, int32_t first_cell) {
    Level level;
    level.log2_cell = log2_cell;
    level.columns = ((image.W - 1) >> log2_cell) + 1;
    level.rows = ((image.H - 1) >> log2_cell) + 1;
    level.first_cell = first_cell;
    return level;
}

GSASR_FUNCTION Level first_level(const Entry& entry) {
    return make_level(entry.image, entry.log2_cell, entry.first_cell);
}

GSASR_FUNCTION Level next_level(const Image<float>& image, const Level& level) {
    return make_level(image, level.log2_cell + 1, level.first_cell + level.columns * level.rows);
}

// Whether boxes that extend `half` pixels from their middle belong here (or on a level before).
GSASR_FUNCTION bool fits(const Level& level, int32_t half) { return half <= kReach << level.log2_cell; }

// No clipped box extends further than half of the image.
GSASR_FUNCTION bool is_last(const Image<float>& image, const Level& level) {
    return fits(level, larger(image.H, image.W) / 2);
}

// Rows of the table that travel as parameters of one launch: 4 KiB of parameters work on every driver, and parameters
// are copied when the launch is made or captured, so nobody has to wait for the device.
constexpr int kEntriesPerLaunch = 48;
struct Entries {
    Entry entry[kEntriesPerLaunch];
};

__global__ void __launch_bounds__(kEntriesPerLaunch)
    store_images_kernel(const __grid_constant__ Entries entries, Entry* table, int count) {
    const int i = threadIdx.x;
    if (i < count) table[i] = entries.entry[i];
}

// The last image whose first tile is not after `tile`.
__device__ __forceinline__ int32_t image_of_tile(const Entry* table, int32_t B, int32_t tile) {
    int32_t low = 0, high = B - 1;
    while (low < high) {
        const int32_t middle = (low + high + 1) / 2;
        if (table[middle].first_tile <= tile) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    return low;
}

}  // namespace cuda
}  // namespace gsasr
