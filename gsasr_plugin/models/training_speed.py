"""How fast a training is, and how much memory it has taken: two more numbers on BasicSR's line of progress."""

import sys
import time

import torch


class TrainingSpeed:
    """Counts samples and the time between steps, data included; what interrupts the steps is left out.

    Args:
        device: where the network is.
        processes: how many train together, with as many samples each.
    """

    def __init__(self, device: torch.device, processes: int = 1) -> None:
        self.device = device
        self.processes = processes
        self.samples = 0
        self.seconds = 0.0
        self.last_step: float | None = None

    def step(self, samples: int) -> None:
        """A step on so many samples has ended."""
        now = time.perf_counter()
        if self.last_step is not None:
            self.samples += samples * self.processes
            self.seconds += now - self.last_step
        self.last_step = now

    def interrupt(self) -> None:
        """Something else than training comes next."""
        self.last_step = None

    def report(self) -> dict[str, float]:
        """Since the last report: samples per second; and since the start of the process: most memory, in GiB."""
        rate = {'samples_per_s': self.samples / self.seconds} if self.seconds else {}
        self.samples, self.seconds = 0, 0.0
        memory = self._memory()
        return rate if memory is None else {**rate, 'memory_gib': memory / 2**30}

    def _memory(self) -> float | None:
        """Bytes, of this process: torch's on a CUDA device, else all (not known on Windows)."""
        if self.device.type == 'cuda':
            return torch.cuda.max_memory_allocated(self.device)
        if sys.platform == 'win32':
            return None
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == 'darwin' else 1024)
