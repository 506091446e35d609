"""Images of different sizes in one batch: they collate to a list, without padding.

BasicSR's `build_dataloader` passes no `collate_fn`, so the rule is added to PyTorch's default collation in the way its
documentation of `torch.utils.data.default_collate` describes: a type of our own, entered in `default_collate_fn_map`.
Workers enter it too, since they import this module to unpickle the data set.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.data import get_worker_info

from gsasr_plugin.torch_private import default_collate_fn_map, ordinary_results, shared_block


class VariableSizeImage(torch.Tensor):
    """A (C, H, W) image whose size may differ within a batch. Operations on it give ordinary tensors.

    `VariableSizeImage.of(tensor)` makes one that shares the tensor's memory. A batch of B becomes a list of B ordinary
    (C, H_i, W_i) tensors.
    """

    __torch_function__ = ordinary_results

    @classmethod
    def of(cls, image: torch.Tensor) -> 'VariableSizeImage':
        return image.as_subclass(cls)


def collate_variable_size(
    images: Sequence[torch.Tensor], *, collate_fn_map: dict[Any, Any] | None = None
) -> list[torch.Tensor]:
    """Turn B images (C_i, H_i, W_i) of one dtype into a list of ordinary tensors of the same sizes.

    They are views of one block of memory: a worker hands over one shared file per batch, not one per image, or batches
    of many images would run into the limit on open files.

    Args:
        images: the images of a batch, on the CPU.
        collate_fn_map: not used; `default_collate` passes it to every function of its map.
    """
    count = sum(image.numel() for image in images)
    like = images[0].as_subclass(torch.Tensor)
    # In a worker written straight into shared memory, as PyTorch does for stacked tensors, which saves a copy.
    block = like.new_empty(count) if get_worker_info() is None else shared_block(like, count)
    views = [view.view(image.shape) for view, image in zip(block.split([i.numel() for i in images]), images)]
    for view, image in zip(views, images):
        view.copy_(image)
    return views


default_collate_fn_map[VariableSizeImage] = collate_variable_size
