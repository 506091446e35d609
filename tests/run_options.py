"""Options of tiny trainings, as dictionaries: what the tests' runs have in common."""

from __future__ import annotations

from typing import Any


def host_run() -> dict[str, Any]:
    """What a run of any model has: four steps on the CPU, all in the log; datasets, network and model are to come."""
    return {
        'name': 'run',
        'model_type': 'SRModel',
        'num_gpu': 0,
        'manual_seed': 0,
        'datasets': {},
        'network_g': {},
        'path': {'pretrain_network_g': None, 'strict_load_g': True, 'resume_state': None},
        'train': {
            'optim_g': {'type': 'Adam', 'lr': 0.001, 'weight_decay': 0, 'betas': [0.9, 0.99]},
            'scheduler': {'type': 'MultiStepLR', 'milestones': [100], 'gamma': 0.5},
            'total_iter': 4,
            'warmup_iter': -1,
            'pixel_opt': {'type': 'L1Loss', 'loss_weight': 1.0, 'reduction': 'mean'},
        },
        'logger': {'print_freq': 1, 'save_checkpoint_freq': 2, 'use_tb_logger': False},
    }


def gsasr_data(name: str, **options: Any) -> dict[str, Any]:
    """A data set of the GT images in the folder `gt`."""
    return {
        'name': name,
        'type': 'ArbitraryScalePairedDataset',
        'dataroot_gt': 'gt',
        'io_backend': {'type': 'disk'},
        **options,
    }


def gsasr_run(encoder_opt: dict[str, Any]) -> dict[str, Any]:
    """A run of GSASR on the folder `gt`, with a decoder as small as can be."""
    options = host_run() | {'model_type': 'GSASRModel'}
    loader = {'num_worker_per_gpu': 0, 'batch_size_per_gpu': 2}
    options['datasets'] = {'train': gsasr_data('noise', lq_size=8, scale_range=[1, 4], **loader)}
    options['network_g'] = {
        'type': 'GSASR',
        'encoder_opt': encoder_opt,
        'embed_dim': 8,
        'num_heads': 2,
        'window_size': 4,
        'num_injection_layers': 1,
        'num_interaction_blocks': 1,
        'num_interaction_layers': 1,
        'gaussian_density': 1,
    }
    return options
