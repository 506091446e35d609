"""For all tests: the host is repaired before any of them imports it; a tiny network, in memory and in a file."""

import gsasr_plugin  # noqa: F401
from tests.upscaling.tiny import model_file, net  # noqa: F401 (fixtures)
