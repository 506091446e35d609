"""The GT images of a command, listed and measured before any work is done."""

from collections.abc import Sequence

from gsasr_plugin.data.image_files import ImageFile, backend_of, image_sizes, list_images, list_some
from gsasr_plugin.run_errors import CommandError, told_as_command_error
from gsasr_plugin.sizes import Scale, Size, format_scale, protocol_sizes


def listed_images(root: str, *, argument: str = '--gt', recursive: bool = False) -> list[ImageFile]:
    """The images of an argument: of a folder, with its sub-folders if `recursive`, an LMDB or package:NAME.

    Raises:
        CommandError: there are none, or two would be written to the same file.
    """
    with told_as_command_error(f'{argument}: ', FileNotFoundError, ValueError):
        images = list_images(root, backend_of(root), recursive=recursive)
    by_stem: dict[str, str] = {}
    for image in images:
        if image.stem in by_stem:
            raise CommandError(f'{argument}: {image} and {by_stem[image.stem]} would be written to the same file')
        by_stem[image.stem] = str(image)
    return images


def listed_sizes(images: Sequence[ImageFile]) -> list[Size]:
    """The sizes (H, W) of the images of --gt.

    Raises:
        CommandError: some cannot be read.
    """
    with told_as_command_error('--gt: ', ValueError):
        return image_sizes(list(images))


def check_large_enough(images: Sequence[ImageFile], scales: Sequence[Scale]) -> None:
    """Whether all images can be reduced by all scales.

    Raises:
        CommandError: some are too small, or cannot be read.
    """
    small = [
        f'{image} (x{format_scale(scale)})'
        for image, size in zip(images, listed_sizes(images))
        for scale in scales
        if 0 in protocol_sizes(size, scale)[0]
    ]
    if small:
        raise CommandError(f'--scales: too large for some images: {list_some(small)}')
