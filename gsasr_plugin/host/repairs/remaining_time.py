"""The time that a training is said to need still."""

import time
import types
from typing import Any

from gsasr_plugin.host.repairs.repair import Repair, is_ours


def repair_remaining_time(logger: types.ModuleType) -> Repair:
    """`basicsr.utils.logger.MessageLogger` counts one iteration too few that is still to come, and prints
    `eta: -1 day, 23:59:58` at the last one.
    """
    name = 'MessageLogger'
    host_class: Any = getattr(logger, name, None)
    host_init: Any = getattr(host_class, '__init__', None)
    if is_ours(host_init):
        return Repair(name, True, 'already replaced')
    if host_class is None or 'eta: -' not in _last_message(host_class):
        return Repair(name, False, "the host's class counts right")

    def __init__(self: Any, opt: dict[str, Any], *arguments: Any, **named: Any) -> None:
        host_init(self, opt, *arguments, **named)
        self.max_iters = int(self.max_iters) + 1

    host_class.__init__ = __init__
    return Repair(name, True, "the host's class counts one iteration too few that is still to come")


def _last_message(host_class: Any) -> str:
    """What the class says of the last of two iterations, which took a minute each."""
    messages: list[str] = []
    message_logger = object.__new__(host_class)
    vars(message_logger).update(
        exp_name='',
        start_iter=1,
        max_iters=2,
        use_tb_logger=False,
        start_time=time.time() - 120,
        logger=types.SimpleNamespace(info=messages.append),
    )
    message_logger({'epoch': 0, 'iter': 2, 'lrs': [], 'time': 60.0, 'data_time': 0.0})
    return ''.join(messages)
