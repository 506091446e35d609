"""pytest's plugin of a mutation run: the fastest tests come first, and what tests do in other processes counts too."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

# mutmut finds out which tests call which functions, in its own process only. These tests have others call them.
IN_OTHER_PROCESSES = {
    'tests/test_processes.py': ['processes'],
    'tests/data/test_epoch_sampler.py': ['data/epoch_sampler'],
    'tests/data/test_lmdb_values.py': ['data/lmdb_values'],
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    try:
        seconds = json.loads(Path('mutmut-stats.json').read_text())['duration_by_test']
    except OSError:
        return  # the first run of all, which measures them
    items.sort(key=lambda item: seconds.get(item.nodeid, 0))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    if os.environ.get('MUTANT_UNDER_TEST') != 'stats':
        return
    from mutmut.state import state

    for name in IN_OTHER_PROCESSES.get(item.nodeid.partition('::')[0], []):
        functions = json.loads(Path(f'gsasr_plugin/{name}.py.meta').read_text())['hash_by_function_name']
        state()._stats.update(f'gsasr_plugin.{name.replace("/", ".")}.{function}' for function in functions)
