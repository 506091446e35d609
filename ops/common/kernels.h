// The kernels of all operators, for one instruction set.
//
// This file has to be included after the instruction set is chosen (GSASR_UNIT names its namespace, GSASR_LANES the floats
// of a vector), and everything in what it includes has internal linkage or lives in that namespace: the linker must not
// merge functions of different sets.
#include "../attention/cpu_gradient.h"
#include "../convolutions/cpu_gradient.h"
#include "../perceptrons/cpu_gradient.h"
#if !defined(GSASR_BF16)  // it multiplies nothing that is rounded: those of AVX-512 do for it
#include "../rasterizer/cpu_kernel.h"
#endif
