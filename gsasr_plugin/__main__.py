"""`python -m gsasr_plugin`: the same as the command `basicsr`."""

import sys

from gsasr_plugin.cli import main

if __name__ == '__main__':
    sys.exit(main())
