"""The options of `degradation`: every probability and range of Real-ESRGAN's process, and presets of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, get_args

from pydantic import Field

from gsasr_plugin.option_types import build_options

KernelKind = Literal['iso', 'aniso', 'generalized_iso', 'generalized_aniso', 'plateau_iso', 'plateau_aniso']
ResizeMode = Literal['area', 'bilinear', 'bicubic', 'antialiased_bilinear', 'antialiased_bicubic', 'lanczos']
Preset = Literal['real_esrgan', 'light']

Probability = Annotated[float, Field(ge=0, le=1)]
_pair = Field(min_length=2, max_length=2)
# Pixels; a narrower kernel is the same as none, and BasicSR's formulas divide by its square.
Sigmas = Annotated[list[Annotated[float, Field(ge=0.01, le=100)]], _pair]
Shapes = Annotated[list[Annotated[float, Field(ge=0.01, le=100)]], _pair]
Noises = Annotated[list[Annotated[float, Field(ge=0, le=255)]], _pair]
Qualities = Annotated[list[Annotated[int, Field(ge=1, le=100)]], _pair]
Factors = Annotated[list[Annotated[float, Field(gt=0, le=16)]], _pair]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
ThreeWeights = Annotated[list[Weight], Field(min_length=3, max_length=3)]
KernelSize = Annotated[int, Field(ge=1, le=101)]
KernelKinds = Annotated[list[KernelKind], Field(min_length=1)]

_KINDS = list(get_args(KernelKind))
_KIND_WEIGHTS = [0.45, 0.25, 0.12, 0.03, 0.12, 0.03]
PRESETS: dict[str, dict[str, Any]] = {
    'real_esrgan': {},  # the defaults
    # Photographs from phones and the web: perhaps reduced once more, blurred and noisy a little, saved as JPEG.
    'light': {
        'gt_usm': False,
        'resize_modes': ['area', 'antialiased_bilinear', 'antialiased_bicubic', 'lanczos'],
        'resize_unit': 'lq',
        'blur_prob': 0,
        'resize_prob': [0.3, 0, 0.7],
        'resize_range': [1, 2],
        'noise_prob': 0,
        'jpeg_prob': 0.2,
        'jpeg_range': [75, 95],
        'second_blur_prob': 0.8,
        'blur_kernel_size2': 7,
        'kernel_list2': ['iso', 'aniso'],
        'kernel_prob2': [0.7, 0.3],
        'blur_sigma2': [0.1, 1.0],
        'sinc_prob2': 0,
        'resize_prob2': [0, 0, 1],
        'noise_prob2': 0.5,
        'gaussian_noise_prob2': 0.7,
        'noise_range2': [0, 5],
        'poisson_scale_range2': [0, 0.4],
        'jpeg_prob2': 0.9,
        'jpeg_range2': [50, 95],
        'jpeg_last_prob': 0.9,
        'final_sinc_prob': 0,
    },
}


@dataclass(frozen=True)
class Stage:
    """One of the two rounds: the options that both have, without the 2 of the second one's names."""

    blur_prob: float
    blur_kernel_size: int
    kernel_list: Sequence[KernelKind]
    kernel_prob: Sequence[float]
    blur_sigma: Sequence[float]
    betag_range: Sequence[float]
    betap_range: Sequence[float]
    sinc_prob: float
    resize_prob: Sequence[float]
    resize_range: Sequence[float]
    noise_prob: float
    gaussian_noise_prob: float
    noise_range: Sequence[float]
    poisson_scale_range: Sequence[float]
    gray_noise_prob: float
    jpeg_prob: float
    jpeg_range: Sequence[int]


@dataclass(kw_only=True)
class DegradationOptions:
    """A section `degradation`. Names and defaults are those of Real-ESRGAN's option files, where these have them.

    A sample goes through two rounds of blur, resizing, noise and JPEG; the second one ends at the size of the LR image,
    with a sinc filter, which comes together with the last resizing before or after the JPEG.

    Attributes:
        preset: what the options that are not given here are: real_esrgan, or light, for photographs from phones and the
            web (a little blur and noise, JPEG of 50 to 95).
        clean_prob: how often a sample is left as it is without `degradation`: LR is the bicubic reduction of GT.
        gt_usm: sharpen GT as Real-ESRGAN does (unsharp mask), and make LR of the sharpened one.
        resize_modes: ways of resizing, of which each time one is drawn. area, bilinear and bicubic as in Real-ESRGAN,
            the latter two without a filter against aliasing; with it antialiased_bilinear, antialiased_bicubic (as
            MATLAB) and lanczos.
        resize_unit: what the factors of resize_range multiply: gt: the size of the GT image; lq: that of the LR image.

        blur_prob: first round: how often there is a blur.
        blur_kernel_size: first round: largest side of a kernel, odd, pixels; its side is drawn from 7 upwards.
        kernel_list: first round: the kinds of kernels.
        kernel_prob: first round: a weight for each kind.
        blur_sigma: first round: standard deviation of a kernel, along each axis, pixels.
        betag_range: first round: exponent of generalized Gaussian kernels, drawn below 1 as often as above.
        betap_range: first round: exponent of plateau-shaped kernels, likewise.
        sinc_prob: first round: how often the blur is a sinc filter, which rings.
        resize_prob: first round: weights of enlarging, reducing and keeping the size.
        resize_range: first round: [smallest, largest] factor.
        noise_prob: first round: how often there is noise.
        gaussian_noise_prob: first round: how often the noise is Gaussian; else Poisson.
        noise_range: first round: standard deviation of Gaussian noise, levels of 255.
        poisson_scale_range: first round: factor of Poisson noise.
        gray_noise_prob: first round: how often the noise is the same in all channels.
        jpeg_prob: first round: how often there is a JPEG.
        jpeg_range: first round: quality of the JPEG.

        second_blur_prob: second round: how often there is a blur.
        blur_kernel_size2: second round: largest side of a kernel, odd, pixels; its side is drawn from 7 upwards.
        kernel_list2: second round: the kinds of kernels.
        kernel_prob2: second round: a weight for each kind.
        blur_sigma2: second round: standard deviation of a kernel, along each axis, pixels.
        betag_range2: second round: exponent of generalized Gaussian kernels, drawn below 1 as often as above.
        betap_range2: second round: exponent of plateau-shaped kernels, likewise.
        sinc_prob2: second round: how often the blur is a sinc filter.
        resize_prob2: second round: weights of enlarging, reducing and keeping the size.
        resize_range2: second round: [smallest, largest] factor, of the LR image's size.
        noise_prob2: second round: how often there is noise.
        gaussian_noise_prob2: second round: how often the noise is Gaussian; else Poisson.
        noise_range2: second round: standard deviation of Gaussian noise, levels of 255.
        poisson_scale_range2: second round: factor of Poisson noise.
        gray_noise_prob2: second round: how often the noise is the same in all channels.
        jpeg_prob2: second round: how often there is a JPEG.
        jpeg_range2: second round: quality of the JPEG.
        jpeg_last_prob: second round: how often the JPEG comes after the last resizing and the sinc filter; else before.
        final_sinc_prob: how often there is a last sinc filter.

    Raises:
        ValueError: options contradict each other or are out of range.
    """

    preset: Preset = 'real_esrgan'
    clean_prob: Probability = 0
    gt_usm: bool = True
    resize_modes: Annotated[list[ResizeMode], Field(min_length=1)] = field(
        default_factory=lambda: ['area', 'bilinear', 'bicubic']
    )
    resize_unit: Literal['gt', 'lq'] = 'gt'

    # The first round
    blur_prob: Probability = 1
    blur_kernel_size: KernelSize = 21
    kernel_list: KernelKinds = field(default_factory=lambda: list(_KINDS))
    kernel_prob: list[Weight] = field(default_factory=lambda: list(_KIND_WEIGHTS))
    blur_sigma: Sigmas = field(default_factory=lambda: [0.2, 3])
    betag_range: Shapes = field(default_factory=lambda: [0.5, 4])
    betap_range: Shapes = field(default_factory=lambda: [1, 2])
    sinc_prob: Probability = 0.1
    resize_prob: ThreeWeights = field(default_factory=lambda: [0.2, 0.7, 0.1])
    resize_range: Factors = field(default_factory=lambda: [0.15, 1.5])
    noise_prob: Probability = 1
    gaussian_noise_prob: Probability = 0.5
    noise_range: Noises = field(default_factory=lambda: [1, 30])
    poisson_scale_range: Noises = field(default_factory=lambda: [0.05, 3])
    gray_noise_prob: Probability = 0.4
    jpeg_prob: Probability = 1
    jpeg_range: Qualities = field(default_factory=lambda: [30, 95])

    # The second round
    second_blur_prob: Probability = 0.8
    blur_kernel_size2: KernelSize = 21
    kernel_list2: KernelKinds = field(default_factory=lambda: list(_KINDS))
    kernel_prob2: list[Weight] = field(default_factory=lambda: list(_KIND_WEIGHTS))
    blur_sigma2: Sigmas = field(default_factory=lambda: [0.2, 1.5])
    betag_range2: Shapes = field(default_factory=lambda: [0.5, 4])
    betap_range2: Shapes = field(default_factory=lambda: [1, 2])
    sinc_prob2: Probability = 0.1
    resize_prob2: ThreeWeights = field(default_factory=lambda: [0.3, 0.4, 0.3])
    resize_range2: Factors = field(default_factory=lambda: [0.3, 1.2])
    noise_prob2: Probability = 1
    gaussian_noise_prob2: Probability = 0.5
    noise_range2: Noises = field(default_factory=lambda: [1, 25])
    poisson_scale_range2: Noises = field(default_factory=lambda: [0.05, 2.5])
    gray_noise_prob2: Probability = 0.4
    jpeg_prob2: Probability = 1
    jpeg_range2: Qualities = field(default_factory=lambda: [30, 95])
    jpeg_last_prob: Probability = 0.5
    final_sinc_prob: Probability = 0.8

    def __post_init__(self) -> None:
        for number in ('', '2'):
            for name in ('blur_sigma', 'noise_range', 'poisson_scale_range', 'jpeg_range', 'resize_range'):
                lowest, highest = getattr(self, name + number)
                if lowest > highest:
                    raise ValueError(f'{name}{number} must be [lowest, highest], got {[lowest, highest]}')
            for name in ('resize_range', 'betag_range', 'betap_range'):
                lowest, highest = getattr(self, name + number)
                if not lowest <= 1 <= highest:
                    raise ValueError(f'{name}{number} must reach from at most 1 to at least 1: {[lowest, highest]}')
            kinds, weights = getattr(self, f'kernel_list{number}'), getattr(self, f'kernel_prob{number}')
            if len(kinds) != len(weights):
                raise ValueError(f'kernel_prob{number} must have a weight for each of kernel_list{number}: {weights}')
            for name in ('kernel_prob', 'resize_prob'):
                if sum(getattr(self, name + number)) <= 0:
                    raise ValueError(f'{name}{number} must have a weight above 0')
            if getattr(self, f'blur_kernel_size{number}') % 2 == 0:
                raise ValueError(f'blur_kernel_size{number} must be odd')

    @property
    def stages(self) -> tuple[Stage, Stage]:
        """The two rounds."""
        names = [name for name in Stage.__dataclass_fields__ if name != 'blur_prob']
        first, second = ({name: getattr(self, name + number) for name in names} for number in ('', '2'))
        return Stage(blur_prob=self.blur_prob, **first), Stage(blur_prob=self.second_blur_prob, **second)

    @classmethod
    def of(cls, given: str | Mapping[str, Any]) -> 'DegradationOptions':
        """The options that a preset's name, or a section, stands for.

        Raises:
            ValueError: keys are unknown or values not accepted; all are named. Or as the class says.
        """
        section = given if isinstance(given, Mapping) else {'preset': given}
        base = section.get('preset', cls.preset)
        preset = PRESETS.get(base, {}) if isinstance(base, str) else {}
        return build_options(cls, {**preset, **section}, 'degradation: ')
