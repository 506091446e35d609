"""Between images of 8 or 16 bits and images of floats."""

import numpy as np


def to_float(image: np.ndarray) -> np.ndarray:
    """uint8 or uint16 -> float32 0..1, C-contiguous, of any shape."""
    return np.ascontiguousarray(image, dtype=np.float32) / np.float32(np.iinfo(image.dtype).max)


def to_8_bit(image: np.ndarray) -> np.ndarray:
    """Floats 0..1 -> uint8 0..255: rounded to the nearest, halves upwards, and clipped."""
    return np.clip(np.floor(image * 255 + 0.5), 0, 255).astype(np.uint8)
