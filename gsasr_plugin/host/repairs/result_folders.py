"""The results of a test that goes on."""

import os
import types
from typing import Any

from gsasr_plugin.host.repairs.repair import Repair, is_ours


def repair_test_folders(test: types.ModuleType) -> Repair:
    """`basicsr.test` accepts --auto_resume, and renames the results of the run that should go on all the same."""
    name = 'make_exp_dirs'
    host_function = getattr(test, name, None)
    if is_ours(host_function):
        return Repair(name, True, 'already replaced')
    if host_function is None:
        return Repair(name, False, 'basicsr.test does not use this function')

    def make_exp_dirs(opt: dict[str, Any]) -> None:
        results = opt['path']['results_root']
        if not (opt.get('auto_resume') and os.path.isdir(results)):
            host_function(opt)
            return
        for key in ('log', 'visualization'):
            os.makedirs(opt['path'][key], exist_ok=True)

    test.make_exp_dirs = make_exp_dirs  # type: ignore[attr-defined]
    return Repair(name, True, "the host's function renames the results even when a test is to go on")
