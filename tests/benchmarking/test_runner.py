"""`gsasr prepare`: work in several processes, however they are started, and whatever theirs has done before."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.forked import TIMEOUT_S

SCRIPT = """
import multiprocessing, sys, time
import cv2
import numpy as np
from gsasr_plugin.benchmarking.prepare.runner import in_processes

def threads(item):
    return item, cv2.getNumThreads()

if __name__ == '__main__':
    multiprocessing.set_start_method(sys.argv[1])
    cv2.setNumThreads(4)
    cv2.GaussianBlur(np.zeros((2000, 2000, 3), np.float32), (31, 31), 3)
    time.sleep(0.5)  # now the threads of OpenCV wait for more
    assert list(in_processes(threads, [3, 1, 2], workers=2)) == [(3, 1), (1, 1), (2, 1)]
    assert cv2.getNumThreads() == 4
"""


@pytest.mark.parametrize('method', ['fork', pytest.param('forkserver', marks=pytest.mark.slow)])
def test_opencv_has_one_thread_in_each(method: str, tmp_path: Path) -> None:
    script = tmp_path / 'script.py'
    script.write_text(SCRIPT)
    subprocess.run([sys.executable, script, method], check=True, timeout=TIMEOUT_S)
