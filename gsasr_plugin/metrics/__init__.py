"""Perceptual metrics that need no download: LPIPS and DISTS."""
