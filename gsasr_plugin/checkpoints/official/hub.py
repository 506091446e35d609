"""The released models by name, `official/<variant>`: where the authors keep their files, and where they lie here.

The files of a variant are fetched through huggingface_hub (the extra `hub`) and into its cache, which `HF_HOME` moves
and `HF_HUB_OFFLINE=1` confines to what is there. Files that a user has placed in `folder(name)` go first.
"""

import difflib
import os
from pathlib import Path

REPOSITORY = 'mutou0308/GSASR'
FILES = ('encoder.pth', 'decoder.pth')  # what the authors call the two files of a variant
PREFIX = 'official/'

# Name -> the folder of the repository.
VARIANTS = {
    f'{PREFIX}{version}-{folder.lower().replace("_", "-")}': f'{parent}/{folder}'
    for version, parent, folders in (
        ('paper', 'GSASR_paper', ('EDSR', 'RDN', 'SWIN')),
        (
            'enhanced',
            'GSASR_enhenced_ultra',
            ('EDSR_DIV2K', 'EDSR_DF2K', 'RDN_DIV2K', 'RDN_DF2K', 'SWIN_DIV2K', 'SWIN_DF2K'),
        ),
        ('ultra', 'GSASR_enhenced_ultra', ('HATL_SA1B',)),
    )
    for folder in folders
}


def is_name(source: object) -> bool:
    """Whether a source of weights is a name; a file or folder of this name, if there is one, is not."""
    return isinstance(source, str | os.PathLike) and str(source).startswith(PREFIX) and not os.path.exists(source)


def folder(name: str) -> Path:
    """The folder of a variant below `GSASR_CACHE`, or else `gsasr` in `XDG_CACHE_HOME` or `~/.cache`.

    Raises:
        ValueError: the name is unknown; the message lists the known ones.
    """
    if name not in VARIANTS:
        # What all names begin with makes none of them near.
        endings = [known.removeprefix(PREFIX) for known in VARIANTS]
        closest = difflib.get_close_matches(name.removeprefix(PREFIX), endings, n=1)
        hint = f'; did you mean {PREFIX}{closest[0]}?' if closest else '.'
        raise ValueError(f'{name} is no released model{hint} Known are {", ".join(VARIANTS)}')
    caches = os.environ.get('XDG_CACHE_HOME') or '~/.cache'
    cache = os.environ.get('GSASR_CACHE') or os.path.join(caches, 'gsasr')
    return Path(cache).expanduser() / name


def placed_files(name: str) -> list[Path]:
    """The two files, encoder first, where a user has placed them in `folder(name)`; else nothing.

    Raises:
        FileNotFoundError: one of the two is missing.
        ValueError: see `folder`.
    """
    paths = [folder(name) / file for file in FILES]
    missing = [path for path in paths if not path.is_file()]
    if len(missing) == 1:
        raise FileNotFoundError(f'{missing[0]}: there is no such file, which belongs to the other one there')
    return [] if missing else paths


def fetch(name: str) -> list[Path]:
    """The two files, encoder first, from huggingface_hub's cache or, if they are not there, from the authors' hub.

    Raises:
        FileNotFoundError: they cannot be had; the message says why, and which files to place where.
        ValueError: see `folder`.
    """
    urls = [f'https://huggingface.co/{REPOSITORY}/resolve/main/{VARIANTS[name]}/{file}' for file in FILES]
    help_yourself = '\n  '.join(['Download these two files', *urls, f'into {folder(name)}/'])
    help_yourself += '\nor anywhere else, and give their paths, encoder first, instead of the name.'
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise FileNotFoundError(
            f'{name} is not on this machine, and huggingface_hub, which fetches it, is not installed: '
            f'pip install huggingface_hub\n{help_yourself}'
        ) from error
    try:
        return [Path(hf_hub_download(REPOSITORY, f'{VARIANTS[name]}/{file}')) for file in FILES]
    except Exception as error:  # its HTTP library, and with it what can be raised, depends on its version
        reason = str(error).strip().split('\n')[0] or type(error).__name__
        raise FileNotFoundError(f'{name} could not be fetched: {reason}\n{help_yourself}') from error
