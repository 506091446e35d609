"""pytest's plugin of a mutation run: the fastest tests come first, and what tests do in other processes counts too."""

from __future__ import annotations

import json
import os
import sys
from itertools import accumulate
from pathlib import Path

import pytest

MUTANTS = Path(__file__).parents[2]  # the plugin runs in mutmut's copy
# mutmut finds out which tests call which functions, in its own process only. These tests have others call them.
IN_OTHER_PROCESSES = {
    'tests/test_processes.py': ['processes'],
    'tests/data/test_epoch_sampler.py': ['data/epoch_sampler'],
    'tests/data/test_lmdb_values.py': ['data/lmdb_values'],
}
# Of tests, for one mutant: what they do not notice in this time survives.
MOST_SECONDS = 60


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    mutant = os.environ.get('MUTANT_UNDER_TEST', '')
    if not mutant.startswith('gsasr_plugin.'):
        return  # the runs before mutants, of all tests
    forget_results()
    module = mutant.rpartition('.')[0].split('.')
    measured = json.loads((MUTANTS / 'mutmut-stats.json').read_text())['duration_by_test']

    def rank(item: pytest.Item) -> tuple[bool, bool, float]:
        """The module's own tests come first, then those of its room, the fastest of them first."""
        path = item.path.relative_to(MUTANTS / 'tests')
        return path.stem != f'test_{module[-1]}', path.parts[0] != module[1], measured.get(item.nodeid, 0)

    items.sort(key=rank)
    seconds = list(accumulate(measured.get(item.nodeid, 0) for item in items))
    count = 1 + sum(total < MOST_SECONDS for total in seconds[1:])
    config.hook.pytest_deselected(items=items[count:])
    del items[count:]


def forget_results() -> None:
    """Empties the caches of functions: a mutant's process is a fork of that which ran all tests without it."""
    for name, module in list(sys.modules.items()):
        if name.startswith('gsasr_plugin'):
            for value in vars(module).values():
                if hasattr(value, 'cache_clear'):
                    value.cache_clear()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    if os.environ.get('MUTANT_UNDER_TEST') != 'stats':
        return
    from mutmut.state import state

    for name in IN_OTHER_PROCESSES.get(item.nodeid.partition('::')[0], []):
        functions = json.loads((MUTANTS / 'gsasr_plugin' / f'{name}.py.meta').read_text())['hash_by_function_name']
        state()._stats.update(f'gsasr_plugin.{name.replace("/", ".")}.{function}' for function in functions)
