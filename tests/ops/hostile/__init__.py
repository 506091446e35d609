"""Random hostile calls of the operators, reproducible by (seed, number): `python -m tests.ops.hostile CALLS SEED`.

Each has to end in an error or in the right result. To be run with a sanitized library, which ends the process at the
first read or write out of bounds.
"""
