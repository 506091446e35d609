"""Which images of a data set can be used: what cannot be read or is too small is left out, with a word, or an error."""

from collections.abc import Mapping, Sequence

from gsasr_plugin.data.arbitrary_scale_paired_options import ArbitraryScalePairedDatasetOptions
from gsasr_plugin.data.image_check import check_images, index_faults
from gsasr_plugin.data.image_files import ImageFile, list_some, sizes_where_readable
from gsasr_plugin.data.log import warn
from gsasr_plugin.processes import Processes
from gsasr_plugin.run_errors import DataError
from gsasr_plugin.sizes import Size


def readable_for_training(
    images: list[ImageFile], options: ArbitraryScalePairedDatasetOptions
) -> dict[ImageFile, Size]:
    """The images whose headers, or with `check_images` all of whose pixels, can be read, with their sizes (H, W).

    Args:
        options: say what to do about others: `on_error`.

    Raises:
        DataError: others must not be left out, or none are left; they are named.
    """
    sizes = dict(zip(images, sizes_where_readable(images)))
    if options.check_images:
        bad = _check(images, options.name)
    else:
        bad = {image: 'not readable as an image' for image, size in sizes.items() if size is None}
    if bad and options.on_error == 'skip':
        warn(f'data set {options.name}: left out: {"; ".join(_words(bad))}')
    elif bad:
        raise DataError(f'{list_some(_words(bad))}. Set on_error: skip to leave them out')
    readable = {image: size for image, size in sizes.items() if size is not None and image not in bad}
    if not readable:
        raise DataError(f'none of its {len(images)} images can be read')
    return readable


def check_all(images: list[ImageFile], name: str) -> None:
    """Decodes all images of a data set; see `check_images`.

    Raises:
        DataError: some cannot be used; they are named.
    """
    bad = _check(images, name)
    if bad:
        raise DataError(list_some(_words(bad)))


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


def large_enough(
    images: Sequence[ImageFile],
    sizes: Mapping[ImageFile, Size],
    options: ArbitraryScalePairedDatasetOptions,
    least: Size,
    *,
    of_lq: bool = False,
) -> list[ImageFile]:
    """The images of which crops can be cut.

    Args:
        sizes: (H, W) of each.
        options: say what to do about others: `small_images`.
        least: (H, W) of what is cut.
        of_lq: LR images of pairs, of which patches are cut; otherwise GT images, of which the largest crop must be.

    Raises:
        DataError: others must not be left out, or none are left; they are named.
    """
    height, width = least
    large = [image for image in images if sizes[image][0] >= height and sizes[image][1] >= width]
    if len(large) == len(images):
        return large
    kept = set(large)
    small = [f'{image} ({sizes[image][0]} x {sizes[image][1]})' for image in images if image not in kept]
    what, remedy = ('the LR patch', 'lq_size') if of_lq else ('the largest crop', 'lq_size or the scales')
    message = (
        f'{len(small)} of {len(images)} images have fewer than {height} x {width} pixels (rows x columns), {what} of '
        f'lq_size {options.lq_size}'
    )
    if options.small_images == 'error':
        raise DataError(f'{message}: {list_some(small)}. Set small_images: skip to leave them out, or lower {remedy}')
    if not large:
        raise DataError(f'{message}, none is left: {list_some(small)}')
    warn(f'data set {options.name}: {message}; left out: {", ".join(small)}')
    return large
