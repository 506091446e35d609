"""The results of a test that goes on."""

import os
from collections.abc import Callable
from typing import Any


def keep_results(original: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], None]:
    """The folders of a test; with --auto_resume those that are there, which BasicSR would rename all the same."""

    def make_exp_dirs(opt: dict[str, Any]) -> None:
        if not (opt.get('auto_resume') and os.path.isdir(opt['path']['results_root'])):
            original(opt)
            return
        for key in ('log', 'visualization'):
            os.makedirs(opt['path'][key], exist_ok=True)

    return make_exp_dirs
