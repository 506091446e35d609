"""Where the images of a `dataroot_*` option are."""

import os
from importlib import resources

from gsasr_plugin.run_errors import MissingDataError

PACKAGE_PREFIX = 'package:'


def resolve_root(root: str) -> str:
    """The folder that a root names.

    Args:
        root: a folder, `~` being the user's home; or `package:NAME`, the folder of an installed Python package (such as
            `package:skimage.data`, photographs that come with scikit-image).

    Raises:
        MissingDataError: it does not exist; the message names it, and the folder from which a relative one was sought.
    """
    if root.startswith(PACKAGE_PREFIX):
        name = root.removeprefix(PACKAGE_PREFIX)
        try:
            return str(resources.files(name))
        except (ModuleNotFoundError, TypeError, ValueError) as error:
            raise MissingDataError(f'dataroot {root!r}: there is no package {name!r} here ({error})') from None
    folder = os.path.expanduser(root)
    if not os.path.isdir(folder):
        raise MissingDataError(f'dataroot {root!r} is not a folder (looked from {os.getcwd()})')
    return folder
