// The kernels for any machine: vectors of the baseline (SSE2 on x86-64, NEON on aarch64), loops for other compilers.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#define GSASR_UNIT portable
#define GSASR_LANES 4
#include "kernels.h"
