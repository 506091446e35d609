"""The options of `degradation`: Real-ESRGAN's defaults, presets, what is refused and in which words."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from gsasr_plugin.data.arbitrary_scale_paired_options import ArbitraryScalePairedDatasetOptions
from gsasr_plugin.data.degradation.options import PRESETS, DegradationOptions
from gsasr_plugin.option_types import accepted_by_dataclass

# Of Real-ESRGAN's option files for training (train_realesrgan_x4plus.yml, train_realesrnet_x4plus.yml).
REAL_ESRGAN = {
    'gt_usm': True,
    'resize_prob': [0.2, 0.7, 0.1],
    'resize_range': [0.15, 1.5],
    'gaussian_noise_prob': 0.5,
    'noise_range': [1, 30],
    'poisson_scale_range': [0.05, 3],
    'gray_noise_prob': 0.4,
    'jpeg_range': [30, 95],
    'second_blur_prob': 0.8,
    'resize_prob2': [0.3, 0.4, 0.3],
    'resize_range2': [0.3, 1.2],
    'gaussian_noise_prob2': 0.5,
    'noise_range2': [1, 25],
    'poisson_scale_range2': [0.05, 2.5],
    'gray_noise_prob2': 0.4,
    'jpeg_range2': [30, 95],
    'blur_kernel_size': 21,
    'kernel_list': ['iso', 'aniso', 'generalized_iso', 'generalized_aniso', 'plateau_iso', 'plateau_aniso'],
    'kernel_prob': [0.45, 0.25, 0.12, 0.03, 0.12, 0.03],
    'sinc_prob': 0.1,
    'blur_sigma': [0.2, 3],
    'betag_range': [0.5, 4],
    'betap_range': [1, 2],
    'blur_kernel_size2': 21,
    'kernel_list2': ['iso', 'aniso', 'generalized_iso', 'generalized_aniso', 'plateau_iso', 'plateau_aniso'],
    'kernel_prob2': [0.45, 0.25, 0.12, 0.03, 0.12, 0.03],
    'sinc_prob2': 0.1,
    'blur_sigma2': [0.2, 1.5],
    'betag_range2': [0.5, 4],
    'betap_range2': [1, 2],
    'final_sinc_prob': 0.8,
}


def test_the_defaults_are_real_esrgans() -> None:
    options = DegradationOptions.of('real_esrgan')
    assert options == DegradationOptions.of({}) == DegradationOptions.of(REAL_ESRGAN)
    # What its code fixes: every sample has noise, JPEG and, in the first round, blur; the JPEG comes last in half.
    added = {'preset', 'clean_prob', 'resize_modes', 'resize_unit', 'jpeg_last_prob'}
    assert {field.name for field in fields(options)} - REAL_ESRGAN.keys() - added == {
        *('blur_prob', 'noise_prob', 'noise_prob2', 'jpeg_prob', 'jpeg_prob2')
    }
    assert (options.blur_prob, options.noise_prob, options.noise_prob2, options.jpeg_prob, options.jpeg_prob2) == (
        1,
    ) * 5
    assert (options.clean_prob, options.jpeg_last_prob, options.resize_unit) == (0, 0.5, 'gt')
    assert options.resize_modes == ['area', 'bilinear', 'bicubic']


def test_a_preset_with_changes() -> None:
    plain, light = DegradationOptions.of('light'), DegradationOptions.of({'preset': 'light', 'jpeg_range2': [75, 75]})
    assert plain.jpeg_range2 == [50, 95] and light.jpeg_range2 == [75, 75]
    assert {**vars(light), 'jpeg_range2': plain.jpeg_range2} == vars(plain)
    assert PRESETS['light']['jpeg_range2'] == [50, 95]


def test_the_rounds_have_their_own_options() -> None:
    first, second = DegradationOptions.of({'second_blur_prob': 0.25, 'sinc_prob2': 0.75, 'noise_range': [2, 3]}).stages
    assert (first.blur_prob, second.blur_prob) == (1, 0.25)
    assert (first.sinc_prob, second.sinc_prob) == (0.1, 0.75)
    assert (first.noise_range, second.noise_range) == ([2, 3], [1, 25])


TRAIN = {'name': 'DIV2K', 'phase': 'train', 'dataroot_gt': 'gt'}


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        ('ligth', "degradation: given 'ligth'; did you mean 'light'"),
        (['light'], r"degradation: given \['light'\]; accepted: real_esrgan or light or a mapping or null"),
        ({'preset': 'heavy'}, "degradation: preset: given 'heavy'; accepted: real_esrgan or light"),
        ({'preset': ['light']}, 'degradation: preset: given'),
        ({'jpeg_rang': [50, 95]}, "unknown option 'jpeg_rang'; did you mean 'jpeg_range'"),
        ({'jpeg_range': [50, 101]}, r'jpeg_range\[1\]: given 101; accepted: a list of 2 .*at least 1, at most 100'),
        ({'jpeg_range2': [50.5, 60]}, 'jpeg_range2.*50.5; accepted: a list of 2 .of a whole number'),
        ({'jpeg_range': [95, 50]}, r'jpeg_range must be \[lowest, highest\], got \[95, 50\]'),
        ({'noise_range2': [-1, 5]}, r'noise_range2\[0\]: given -1'),
        ({'blur_sigma': [0, 1]}, r'blur_sigma\[0\]: given 0; accepted: .*at least 0.01'),
        ({'blur_sigma2': [2, 1]}, r'blur_sigma2 must be \[lowest, highest\]'),
        ({'blur_kernel_size': 20}, 'blur_kernel_size must be odd'),
        ({'kernel_list2': ['iso', 'round']}, r"kernel_list2\[1\]: given 'round'; accepted: .*plateau_iso"),
        ({'kernel_list': ['iso']}, 'kernel_prob must have a weight for each of kernel_list'),
        ({'kernel_prob2': [0] * 6}, 'kernel_prob2 must have a weight above 0'),
        ({'resize_prob': [1, 1]}, 'resize_prob: given .* a list of 3'),
        ({'resize_prob2': [0, 0, 0]}, 'resize_prob2 must have a weight above 0'),
        ({'resize_range': [1.2, 1.5]}, 'resize_range must reach from at most 1 to at least 1'),
        ({'betag_range2': [2, 4]}, 'betag_range2 must reach from at most 1 to at least 1'),
        ({'resize_modes': []}, r'resize_modes: given \[\]'),
        ({'resize_modes': ['nearest']}, 'resize_modes.*antialiased_bicubic or lanczos'),
        ({'resize_unit': 'hr'}, "resize_unit: given 'hr'; accepted: gt or lq"),
        ({'clean_prob': 1.5}, 'clean_prob: given 1.5; accepted: a number, at least 0, at most 1'),
        ({'gt_usm': 1}, 'gt_usm: given 1; accepted: true or false'),
    ],
)
def test_faults_are_named(given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ArbitraryScalePairedDatasetOptions.from_opt({**TRAIN, 'degradation': given})


def test_it_is_for_training() -> None:
    section = {'name': 'Set5', 'phase': 'val', 'dataroot_gt': 'gt', 'scales': [2], 'degradation': 'light'}
    with pytest.raises(ValueError, match='degradation is for training; `gsasr prepare benchmark --degradation`'):
        ArbitraryScalePairedDatasetOptions.from_opt(section)


def test_every_option_is_documented_and_typed() -> None:
    options = accepted_by_dataclass(DegradationOptions).options
    assert [name for name, option in options.items() if not option.sentence or option.annotation is Any] == []
