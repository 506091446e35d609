"""For all tests: the host is repaired before any of them imports it."""

import gsasr_plugin  # noqa: F401
