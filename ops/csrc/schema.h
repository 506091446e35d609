// The schemas of the operators. Python reads these lines too, where no compiled library defines them
// (gsasr_ops/extension.py), so that every operator exists with one and the same schema in either case.
//
// sizes: H and W of each image, 2 B numbers. scales: output pixels per LR pixel along rows (y) and columns (x) of each
// image, 2 B numbers. The images come one after the other in a flat tensor, each planar (C, H, W).
//
// q (M, heads, T, D), k and v (M, heads, S, D), bias (heads, T, S), rotations (heads, P, D / 2, 2) with P of
// at least T and S; the result is (M, T, heads * D). Or with windows (M, T) and context_windows (M, S), the numbers of
// rows: q (R, heads, D), k and v (any, heads, D), and the result (R, heads * D).
#pragma once

#define GSASR_FORWARD_SCHEMA "rasterize_gaussians(Tensor means, Tensor sigmas, Tensor rhos, Tensor opacities, Tensor colors, SymInt[] sizes, float[] scales, float support, float? window) -> Tensor"
#define GSASR_BACKWARD_SCHEMA "rasterize_gaussians_backward(Tensor v_images, Tensor means, Tensor sigmas, Tensor rhos, Tensor opacities, Tensor colors, SymInt[] sizes, float[] scales, float support, float? window) -> (Tensor v_means, Tensor v_sigmas, Tensor v_rhos, Tensor v_opacities, Tensor v_colors)"
#define GSASR_ATTENTION_SCHEMA "window_attention(Tensor q, Tensor k, Tensor v, Tensor? bias, Tensor? rotations, Tensor? windows, Tensor? context_windows, float scale) -> Tensor"

// x (n, K); the weights (N_i, N_(i - 1)) with N_0 = K, the biases (N_i); added (B, K), B a divisor of n; norm_weight and
// norm_bias (K); residual (n, N_last); the result is (n, N_last), in bfloat16 or float32.
// packed: of each layer what pack_linear made of its weight and bias for the same type of operands; empty: they are packed
// for this call. Bytes that nothing but the kernels of the same instruction set can read.
#define GSASR_PACK_LINEAR_SCHEMA "pack_linear(Tensor weight, Tensor bias, bool in_bfloat16) -> Tensor"
#define GSASR_PERCEPTRON_SCHEMA "perceptron(Tensor x, Tensor[] weights, Tensor[] biases, Tensor[] packed, Tensor? added, Tensor? norm_weight, Tensor? norm_bias, float eps, bool adds_x, Tensor? residual, bool in_bfloat16, bool output_in_bfloat16) -> Tensor"

// x (B, H, W, C), weight (N, C, 3, 3), bias (N), residual (B, H, W, N); the result is (B, H, W, N), in bfloat16 or
// float32. packed: the same of pack_convolution.
#define GSASR_PACK_CONVOLUTION_SCHEMA "pack_convolution(Tensor weight, Tensor bias, bool in_bfloat16) -> Tensor"
#define GSASR_CONVOLUTION_SCHEMA "convolution(Tensor x, Tensor weight, Tensor bias, Tensor? packed, Tensor? residual, bool in_bfloat16, bool output_in_bfloat16) -> Tensor"
