"""Colours of pictures that are not what a network takes: inks and the like, and what nobody sees.

One rule for a user's own pictures and for data sets.
"""

import io

import numpy as np
from PIL import Image, ImageCms


def as_rgb(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, bytes | None]:
    """An image of CMYK, YCbCr, Lab or HSV as sRGB, by its profile where it has one that fits.

    Returns:
        The image, and the profile of its colours: None where none was used.
    """
    if profile is None or image.mode == 'YCbCr':
        return image.convert('RGB'), profile
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB'))
    try:
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(image, own, srgb, outputMode='RGB')
    except (ImageCms.PyCMSError, OSError):
        converted = None  # a profile that is damaged or of another kind of picture
    return (image.convert('RGB'), None) if converted is None else (converted, srgb.tobytes())


def with_hidden_filled(color: np.ndarray, alpha: np.ndarray, *, wraps: bool = False) -> np.ndarray:
    """Colours that cannot be seen are replaced by the nearest that can; without any, they stay.

    Args:
        color: (h, w, channels).
        alpha: (h, w); 0 is hidden.
        wraps: whether the picture goes on at its opposite borders.
    """
    hidden = alpha == 0
    if not hidden.any() or hidden.all():
        return color
    from scipy import ndimage

    h, w = alpha.shape
    around = (h // 2, w // 2) if wraps else (0, 0)  # nothing that repeats is further away
    hidden = np.pad(hidden, [(length, length) for length in around], 'wrap')
    nearest = ndimage.distance_transform_edt(hidden, return_distances=False, return_indices=True)
    rows, columns = nearest[:, around[0] : around[0] + h, around[1] : around[1] + w]
    return color[(rows - around[0]) % h, (columns - around[1]) % w]
