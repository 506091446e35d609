"""How LR images become as those of the real world: blurred, resized, noisy, compressed, after Real-ESRGAN.

`options` says what a section of an option file may say; `process` does it, `samples` makes whole LR images
and training samples by it; `functions` are BasicSR's, `resampling` draws an image at another size.
"""
