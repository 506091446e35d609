"""Which images of a data set can be used: what cannot be read or is too small is left out, with a word, or an error."""

from collections.abc import Mapping

from gsasr_plugin.data.arbitrary_scale_paired_options import ArbitraryScalePairedDatasetOptions
from gsasr_plugin.data.image_check import check_images, index_faults
from gsasr_plugin.data.image_files import ImageFile, image_sizes, list_some, sizes_where_readable
from gsasr_plugin.data.log import warn
from gsasr_plugin.processes import Processes
from gsasr_plugin.run_errors import DataError
from gsasr_plugin.sizes import Size


def usable_for_training(
    images: list[ImageFile], options: ArbitraryScalePairedDatasetOptions, least: Size
) -> list[ImageFile]:
    """The images whose headers, or with `check_images` all of whose pixels, can be read, and that are large enough.

    Args:
        options: say what to do about others: `on_error`, `small_images`.
        least: (H, W) of the largest crop.

    Raises:
        DataError: others must not be left out, or none are left; they are named.
    """
    if options.check_images:
        bad = _check(images, options.name)
    else:
        sizes = sizes_where_readable(images)
        bad = {image: 'not readable as an image' for image, size in zip(images, sizes) if size is None}
    if bad and options.on_error == 'skip':
        warn(f'data set {options.name}: left out: {"; ".join(_words(bad))}')
    elif bad:
        raise DataError(f'data set {options.name}: {list_some(_words(bad))}. Set on_error: skip to leave them out')
    readable = [image for image in images if image not in bad]
    if not readable:
        raise DataError(f'data set {options.name}: none of its {len(images)} images can be read')
    return _large_enough(readable, options, least)


def check_all(images: list[ImageFile], name: str) -> None:
    """Decodes all images of a data set; see `check_images`.

    Raises:
        DataError: some cannot be used; they are named.
    """
    bad = _check(images, name)
    if bad:
        raise DataError(f'data set {name}: {list_some(_words(bad))}')


def _words(bad: Mapping[ImageFile, str]) -> list[str]:
    return [f'{image}: {fault}' for image, fault in bad.items()]


def _check(images: list[ImageFile], name: str) -> dict[ImageFile, str]:
    """The images that cannot be used, and why; of several processes the first looks. Stale indices are logged."""

    def check() -> tuple[dict[ImageFile, str], list[str]]:
        databases = dict.fromkeys(image.root for image in images if image.backend == 'lmdb')
        stale = [fault for root in databases for fault in index_faults(root)]
        return check_images(images, progress=name), stale

    with Processes(f'data set {name}: check of all images') as processes:
        bad, stale = processes.by_first(check)
    for fault in stale:
        warn(f'data set {name}: {fault}')
    return bad


def _large_enough(images: list[ImageFile], options: ArbitraryScalePairedDatasetOptions, least: Size) -> list[ImageFile]:
    height, width = least
    sizes = image_sizes(images)
    large = [image for image, (h, w) in zip(images, sizes) if h >= height and w >= width]
    if len(large) == len(images):
        return images
    small = [f'{image} ({h} x {w})' for image, (h, w) in zip(images, sizes) if h < height or w < width]
    message = (
        f'data set {options.name}: {len(small)} of {len(images)} images have fewer than {height} x {width} '
        f'pixels (rows x columns), the largest crop of lq_size {options.lq_size}'
    )
    if options.small_images == 'error':
        raise DataError(f'{message}: {list_some(small)}. Set small_images: skip to leave them out, or lower the scales')
    if not large:
        raise DataError(f'{message}, none is left: {list_some(small)}')
    warn(f'{message}; left out: {", ".join(small)}')
    return large
