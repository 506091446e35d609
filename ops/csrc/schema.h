// The schemas of the operators. Python reads these lines too, where no compiled library defines them
// (gsasr_ops/extension.py), so that every operator exists with one and the same schema in either case.
//
// sizes: H and W of each image, 2 B numbers. scales: output pixels per LR pixel along rows (y) and columns (x) of each
// image, 2 B numbers. The images come one after the other in a flat tensor, each planar (C, H, W).
//
// q (M, heads, T, D), k and v (M, heads, S, D), bias (heads, T, S), rotations (heads, P, D / 2, 2) with P of
// at least T and S; the result is (M, T, heads * D).
#pragma once

#define GSASR_FORWARD_SCHEMA "rasterize_gaussians(Tensor means, Tensor sigmas, Tensor rhos, Tensor opacities, Tensor colors, SymInt[] sizes, float[] scales, float support, float? window) -> Tensor"
#define GSASR_BACKWARD_SCHEMA "rasterize_gaussians_backward(Tensor v_images, Tensor means, Tensor sigmas, Tensor rhos, Tensor opacities, Tensor colors, SymInt[] sizes, float[] scales, float support, float? window) -> (Tensor v_means, Tensor v_sigmas, Tensor v_rhos, Tensor v_opacities, Tensor v_colors)"
#define GSASR_ATTENTION_SCHEMA "window_attention(Tensor q, Tensor k, Tensor v, Tensor? bias, Tensor? rotations, float scale) -> Tensor"

// x (n, K), weight (N, K), bias (N), out_weight (O, N), out_bias (O); the result is (n, O), in float32.
#define GSASR_PERCEPTRON_SCHEMA "perceptron(Tensor x, Tensor weight, Tensor bias, Tensor out_weight, Tensor out_bias) -> Tensor"
