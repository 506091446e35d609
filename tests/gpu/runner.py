"""Runs the parts, each a process with a time limit of its own, and gathers what they tell. No part stops another."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.gpu.machine import ROOT, python
from tests.gpu.parts import Part

POLL_SECONDS = 0.2
# So often what the running parts have found so far is kept.
KEPT_SECONDS = 10.0


@dataclass
class Outcome:
    """What became of a part.

    Attributes:
        state: 'ok', 'failed', 'too long', 'no time' (not started) or 'not here' (not started, or nothing to show); in
            what is kept meanwhile also 'running'.
        seconds: that it took.
        told: why, in a line.
        figures, failures, not_here: as in `Report`.
    """

    state: str
    seconds: float = 0.0
    told: str = ''
    figures: dict[str, Any] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    not_here: list[str] = field(default_factory=list)


@dataclass
class _Running:
    part: Part
    process: subprocess.Popen[bytes]
    started: float
    deadline: float


class Runner:
    """One run of the suite.

    Args:
        out: folder for each part's log and findings.
        environment: of the parts' processes.
        seconds: that all parts together may take.
        rehearsed: whether there is no GPU.
        patience: the limits of the parts are so many times what they say.
    """

    def __init__(
        self, out: Path, environment: dict[str, str], seconds: float, rehearsed: bool = False, patience: float = 1.0
    ):
        self.out = out
        self.environment = environment
        self.rehearsed = rehearsed
        self.patience = patience
        self.deadline = time.monotonic() + seconds
        self.outcomes: dict[str, Outcome] = {}
        self.running: list[_Running] = []
        self.kept_at = time.monotonic()

    def run(self, parts: Sequence[Part]) -> dict[str, Outcome]:
        """Runs them phase by phase; the outcomes by name."""
        try:
            for phase in sorted({part.phase for part in parts}):
                for part in parts:
                    if part.phase == phase and (started := self._start(part)) is not None:
                        self.running.append(started)
                while any(one.part.phase + one.part.lasts <= phase for one in self.running):
                    self._wait()
            while self.running:
                self._wait()
        finally:
            for one in self.running:  # interrupted
                _kill(one.process)
        return self.outcomes

    def so_far(self) -> dict[str, Outcome]:
        """The outcomes, and of the parts that are running what they have found."""
        now = time.monotonic()
        running = {one.part.name: self._found(one.part, 'running', now - one.started) for one in self.running}
        return running | self.outcomes

    def command(self, part: Part, result: Path) -> list[str]:
        """What runs a part, and leaves its findings in a file."""
        options = ['--rehearse'] if self.rehearsed else []
        return python('-m', 'tests.gpu.part', part.name, '--result', str(result), *options)

    def _start(self, part: Part) -> _Running | None:
        if self.rehearsed and part.not_rehearsed:
            self._note(part, Outcome('not here', told=part.not_rehearsed))
            return None
        left = self.deadline - time.monotonic()
        if left < min(part.seconds, part.least_seconds):
            self._note(part, Outcome('no time', told=f'{max(left, 0):.0f} s were left'))
            return None
        result = self.out / f'{part.name}.json'
        result.unlink(missing_ok=True)
        command = self.command(part, result)
        with open(self.out / f'{part.name}.log', 'wb') as log:
            process = subprocess.Popen(
                command, cwd=ROOT, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        now = time.monotonic()
        print(f'{part.name} ...', flush=True)
        return _Running(part, process, now, now + min(self.patience * part.seconds, left))

    def _wait(self) -> None:
        time.sleep(POLL_SECONDS)
        for one in list(self.running):
            if self._ended(one):
                self.running.remove(one)
        if time.monotonic() > self.kept_at + KEPT_SECONDS:
            self._keep()

    def _found(self, part: Part, state: str, seconds: float) -> Outcome:
        findings: dict[str, Any] = {}
        with contextlib.suppress(OSError, ValueError):  # written never, or in part
            findings = json.loads((self.out / f'{part.name}.json').read_text(encoding='utf-8'))
        return Outcome(state, seconds, **findings)

    def _ended(self, one: _Running) -> bool:
        code, seconds = one.process.poll(), time.monotonic() - one.started
        if code is None and time.monotonic() < one.deadline:
            return False
        _kill(one.process)  # and what it has started
        outcome = self._found(one.part, 'too long' if code is None else 'ok' if code == 0 else 'failed', seconds)
        if outcome.failures:
            outcome.told = outcome.failures[0]
        elif code not in (0, None):
            outcome.told = _last_line(self.out / f'{one.part.name}.log')
        elif not outcome.figures and outcome.not_here:
            outcome.state, outcome.told = 'not here', outcome.not_here[0]
        self._note(one.part, outcome)
        return True

    def noted(self) -> None:
        """Called after each part, and every some seconds: for whoever keeps `so_far`, should all be stopped."""

    def _keep(self) -> None:
        self.noted()
        self.kept_at = time.monotonic()

    def _note(self, part: Part, outcome: Outcome) -> None:
        told = outcome.told and f': {outcome.told}'
        print(f'{part.name}: {outcome.state}, {outcome.seconds:.0f} s{told}', flush=True)
        self.outcomes[part.name] = outcome
        self._keep()


def _kill(process: subprocess.Popen[bytes]) -> None:
    """The process and all that it has started, which are one session."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding='utf-8', errors='replace').strip().splitlines()
    return lines[-1][:300] if lines else ''
