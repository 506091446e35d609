"""Images of different sizes in a batch."""

import pickle

import pytest
import torch
from torch.utils.data import DataLoader, default_collate

from gsasr_plugin.data.variable_size import VariableSizeImage, collate_variable_size

SIZES = [(3, 5, 7), (3, 1, 1), (3, 20, 4), (3, 5, 7)]


class Images(torch.utils.data.Dataset):
    """Item i has SIZES[i % 4] and random content."""

    def __len__(self):
        return 8

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        image = torch.rand(SIZES[index % 4], generator=generator)
        return {'gt': VariableSizeImage.of(image), 'lq': image[:, :1, :1]}


def test_a_batch_is_a_list_of_ordinary_tensors():
    images = [Images()[i]['gt'] for i in range(4)]
    batch = default_collate([Images()[i] for i in range(4)])
    assert batch['lq'].shape == (4, 3, 1, 1)
    assert [type(image) for image in batch['gt']] == [torch.Tensor] * 4
    assert [tuple(image.shape) for image in batch['gt']] == SIZES
    assert all(torch.equal(a, b) for a, b in zip(batch['gt'], images))
    # No padding: exactly the pixels.
    assert batch['gt'][0].untyped_storage().nbytes() == 4 * sum(image.numel() for image in images)


def test_an_image_alone_behaves_as_a_tensor():
    image = torch.rand(3, 4, 5)
    wrapped = VariableSizeImage.of(image)
    assert wrapped.data_ptr() == image.data_ptr()
    assert type(wrapped + 1) is torch.Tensor
    copy = pickle.loads(pickle.dumps(wrapped))
    assert type(copy) is VariableSizeImage and torch.equal(copy, image)
    assert collate_variable_size([wrapped[:, ::2]])[0].equal(image[:, ::2])


@pytest.mark.parametrize('arguments', [{}, {'persistent_workers': True}, {'multiprocessing_context': 'fork'}])
def test_workers_hand_over_one_block_per_batch(arguments):
    here = list(DataLoader(Images(), 4))
    there = list(DataLoader(Images(), 4, num_workers=2, **arguments))
    for one, other in zip(here, there, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one['gt'], other['gt'], strict=True))
        assert len({image.untyped_storage().data_ptr() for image in other['gt']}) == 1


@pytest.mark.cuda
def test_batches_can_be_pinned():
    if not torch.cuda.is_available():
        pytest.skip('pinned memory needs a CUDA device')
    for batch in DataLoader(Images(), 4, num_workers=1, pin_memory=True):
        assert all(image.is_pinned() for image in batch['gt'])
