"""Reading and checking option files, before anything of them reaches BasicSR.

A file is read safely (`read_option_file`), changed by `--force_yml` (`force_options`) and checked (`check_options`).
Which keys exist is written down once, where they are used: in the signatures of registered classes, in the options
dataclasses of data sets and models, and, for BasicSR's own sections, in `host_sections`.

Each check takes the report, where problems go, a section with its path, and, as `root`, the whole file.
"""

from gsasr_plugin.host.option_check.force_yml import force_options
from gsasr_plugin.host.option_check.option_file import OptionFile, read_option_file, write_option_file
from gsasr_plugin.host.option_check.problems import OptionError, Problem

__all__ = [
    'OptionError',
    'OptionFile',
    'Problem',
    'force_options',
    'read_option_file',
    'write_option_file',
]
