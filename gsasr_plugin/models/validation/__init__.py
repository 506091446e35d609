"""Validation and testing: pictures to metrics, tables and grids."""
