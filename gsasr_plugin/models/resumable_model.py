"""What a run leaves on the disk: networks that describe themselves, and states from which it resumes exactly."""

import warnings
from pathlib import Path
from typing import Any

import torch
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger
from torch import nn

from gsasr_plugin.archs import GSASR
from gsasr_plugin.basicsr_private import log_other_keys
from gsasr_plugin.checkpoints.loading import loaded_keys, read_model
from gsasr_plugin.checkpoints.model_file import DESCRIPTION, cpu_state, describe
from gsasr_plugin.checkpoints.resumed_options import (
    OPTIMIZERS,
    OPTIONS,
    RESTART,
    is_other_type,
    merge_options,
    options_in_force,
    remembers_alike,
)
from gsasr_plugin.checkpoints.training_pairs import DIGESTS, CheckpointFiles, prune, writing_checkpoint
from gsasr_plugin.models.best_value import BestValue
from gsasr_plugin.models.random_states import random_states, restore_random_states
from gsasr_plugin.run_errors import RunError


class ResumableModel(SRModel):
    """BasicSR's SRModel, saved whole and resumed exactly.

    A subclass advances `iteration`, `epoch` and `position` with each step, notes in `validated` what it validated, and
    makes `scaler`, which scales its losses.
    """

    scaler: torch.amp.GradScaler

    def __init__(self, opt: dict[str, Any]) -> None:
        # How far the training is: the last step, its epoch, and how many samples of the epoch all processes have used.
        self.iteration, self.epoch = 0, 0
        self.position: int | None = None
        self.saved_iteration = 0
        self._files: CheckpointFiles | None = None  # those of the checkpoint that is being saved
        self.validated: set[tuple[int, int]] = set()  # loaders, by identity, and iterations
        val_opt = opt.get('val') or {}
        metric = val_opt.get('keep_best')
        self.best = BestValue(metric, ((val_opt.get('metrics') or {}).get(metric) or {}).get('better', 'higher'))
        if opt['is_train']:
            self.options_in_force = options_in_force(opt)  # before BasicSR takes it apart
        super().__init__(opt)

    def _keep_best(self, iteration: int) -> None:
        """Keeps the network, if all data sets are validated and the metric of `val.keep_best` is the best so far."""
        if self.best.metric is None:
            return
        if not self._is_validated(iteration) or not self.best.is_reached(iteration):
            return
        nets, keys = [self.net_g], ['params']
        if hasattr(self, 'net_g_ema'):
            nets, keys = [*nets, self.net_g_ema], [*keys, 'params_ema']
        self.save_network(nets, 'net_g', 'best', keys)
        get_root_logger().info(f'net_g_best.pth: {self.best.metric} {self.best.value:.4f} at iteration {iteration}')

    def _is_validated(self, iteration: int) -> bool:
        """Whether all data sets are validated at an iteration."""
        validated = sum(1 for _, at in self.validated if at == iteration)
        return validated >= sum(key != 'train' for key in self.opt.get('datasets', {}))

    def save(self, epoch: int, current_iter: int) -> None:
        """Writes network and training state; a kill leaves the files of before, or the new ones.

        BasicSR's last call, with -1 for both, also leaves a pair of the last iteration, from which a run with a higher
        `total_iter` goes on.
        """
        if current_iter == -1:
            self._save_reached()
        # The generators of all processes, before anything else uses them.
        self.all_random_states: list[Any] = [random_states()] * self.opt['world_size']
        if self.opt['dist']:
            gathered = self.all_random_states if self.opt['rank'] == 0 else None
            torch.distributed.gather_object(random_states(), gathered)
        if self.opt['rank'] == 0:
            states, models = Path(self.opt['path']['training_states']), Path(self.opt['path']['models'])
            try:
                with writing_checkpoint(states, models) as self._files:
                    super().save(epoch, current_iter)
            finally:
                self._files = None
            keep_last = (self.opt.get('logger') or {}).get('keep_last')
            if keep_last is not None and current_iter != -1:
                prune(states, models, keep_last, current_iter)
        self.saved_iteration = max(self.saved_iteration, current_iter)

    def _save_reached(self) -> None:
        """Saves the last step, unless it is."""
        if self.iteration > self.saved_iteration:
            self.save(self.epoch, self.iteration)

    def save_training_state(self, epoch: int, current_iter: int) -> None:
        """As BasicSR's, with all that makes a resumed run the one that was never interrupted."""
        if current_iter == -1:
            return
        assert self._files is not None, '`save` writes the networks first'
        state = {
            'epoch': epoch,
            'iter': current_iter,
            'optimizers': [optimizer.state_dict() for optimizer in self.optimizers],
            'schedulers': [scheduler.state_dict() for scheduler in self.schedulers],
            'position': self.position,
            'random': self.all_random_states,
            'scaler': self.scaler.state_dict(),
            'best_metric_results': getattr(self, 'best_metric_results', {}),
            'best': self.best.state_dict(),
            # Mostly it is not: BasicSR saves first. Then a resumed run begins with the validation that is due.
            'validated': self._is_validated(current_iter),
            DIGESTS: self._files.digests,
            OPTIONS: self.options_in_force,
        }
        self._files.write(Path(self.opt['path']['training_states'], f'{current_iter}.state'), state)

    def resume_training(self, resume_state: dict[str, Any]) -> None:
        """As BasicSR's, with all that `save_training_state` keeps; a state of BasicSR's own has less.

        The log says in which options the state differs and what counts.

        Raises:
            RunError: optimizer or schedule are of another type than the state's, and are not restarted.
        """
        logger = get_root_logger()
        now = self.options_in_force
        self.options_in_force, lines = merge_options(now, resume_state)
        for line in lines:
            logger.info(line)
        others = self._other_types(resume_state)
        if now['train'].get(RESTART):
            remembers = remembers_alike(now, resume_state.get(OPTIONS)) and not set(others).intersection(OPTIMIZERS)
            self._restart_scheduler(resume_state, remembers)
        else:
            if others:  # the state of an older version, which does not say its type
                raise RunError(
                    f'train.{others[0]}.type: {now["train"][others[0]]["type"]}, but the training state is of another '
                    f'type; train.{RESTART}: true takes optimizer settings and schedule from the options'
                )
            super().resume_training(resume_state)
        self.iteration = self.saved_iteration = resume_state['iter']
        self.epoch, self.position = resume_state['epoch'], resume_state.get('position')
        self.best_metric_results = resume_state.get('best_metric_results', {})
        self.best.load_state_dict(resume_state.get('best', {}))
        if resume_state.get('scaler'):
            self.scaler.load_state_dict(resume_state['scaler'])
        states = resume_state.get('random', [])
        if len(states) == self.opt['world_size']:
            restore_random_states(states[self.opt['rank']])
        else:
            logger.warning(
                f'The training state has the random generators of {len(states)} processes, this run has '
                f'{self.opt["world_size"]}: they start anew.'
            )

    def _other_types(self, state: dict[str, Any]) -> list[str]:
        """Which of the optimizers and `scheduler` are, by what they keep, of another type than those of a state."""
        pairs: dict[str, list[tuple[Any, Any]]] = {}
        for name, one, stored in zip(OPTIMIZERS, self.optimizers, state['optimizers']):
            pairs[name] = [(one.state_dict()['param_groups'][0], stored['param_groups'][0])]
        pairs['scheduler'] = [(one.state_dict(), stored) for one, stored in zip(self.schedulers, state['schedulers'])]
        return [name for name in pairs if any(is_other_type(*pair) for pair in pairs[name])]

    def _restart_scheduler(self, state: dict[str, Any], remembers: bool) -> None:
        """Takes optimizer settings and schedule from the options, at the iteration of a state.

        Args:
            state: the training state.
            remembers: whether the optimizers go on with what theirs remember of the gradients.
        """
        for optimizer, stored in zip(self.optimizers, state['optimizers'], strict=True):
            settings = [
                {key: value for key, value in group.items() if key != 'params'} for group in optimizer.param_groups
            ]
            if remembers:
                optimizer.load_state_dict(stored)
            for group, values in zip(optimizer.param_groups, settings, strict=True):
                group.update(values)
        with warnings.catch_warnings():
            warnings.filterwarnings('ignore', message=r'.*lr_scheduler\.step\(\).* before `optimizer\.step\(\)`')
            for iteration in range(1, state['iter'] + 1):
                super().update_learning_rate(iteration, self.opt['train'].get('warmup_iter', -1))
        rates = ', '.join(f'{rate:g}' for rate in self.get_current_learning_rate())
        get_root_logger().info(
            f'train.{RESTART}: optimizer settings and schedule are those of the options, with the learning rate '
            f'{rates} at iteration {state["iter"]}; '
            + ('moments of the gradients go on.' if remembers else 'the optimizer is another, its moments start anew.')
        )

    def save_network(
        self,
        net: nn.Module | list[nn.Module],
        net_label: str,
        current_iter: int | str,
        param_key: str | list[str] = 'params',
    ) -> None:
        """As BasicSR's, with the options of a GSASR beside its weights: the file describes itself."""
        if self.opt['rank'] != 0:
            return
        nets = [self.get_bare_model(one) for one in (net if isinstance(net, list) else [net])]
        keys = param_key if isinstance(param_key, list) else [param_key]
        held: dict[str, Any] = {key: cpu_state(one) for key, one in zip(keys, nets, strict=True)}
        if isinstance(nets[0], GSASR):
            held[DESCRIPTION] = describe(nets[0])
        path = Path(self.opt['path']['models'], f'{net_label}_{"latest" if current_iter == -1 else current_iter}.pth')
        if self._files is not None:
            self._files.write(path, held)
            return
        with writing_checkpoint() as files:
            files.write(path, held)

    def load_network(
        self, net: nn.Module, load_path: str | list[str], strict: bool = True, param_key: str | None = 'params'
    ) -> None:
        """As BasicSR's, from every source that `read_model` knows; `param_key` is for one file.

        Raises:
            RunError: the file cannot be read, see `read_model`; with `strict`, it holds another network.
        """
        bare = self.get_bare_model(net)
        if not isinstance(bare, GSASR):
            try:
                super().load_network(net, load_path, strict, param_key)
            except (RuntimeError, KeyError) as error:
                raise RunError(f'{load_path} is no file of this {type(bare).__name__}: {error}') from error
            return
        try:
            stored = read_model(load_path, param_keys=loaded_keys(load_path, param_key))
            if strict:
                stored.check_options(bare.options)
                stored.check_weights(bare.state_dict())
        except (FileNotFoundError, ValueError) as error:
            raise RunError(str(error)) from error
        get_root_logger().info(f'Loading GSASR from {stored.source}.')
        if not strict:
            log_other_keys(self, bare, stored.state)
        bare.load_state_dict(stored.state, strict=strict)
