"""What classes state of themselves, and what holds where they state nothing."""

from __future__ import annotations

from gsasr_plugin.models.model_contract import DatasetContract, ModelContract, NetworkContract, stated


class Stated:
    """A class that states some of what the contracts name."""

    optimizer_types = ('SGD',)
    largest_size = 7


def test_a_statement_counts_and_else_the_default() -> None:
    assert stated(Stated, ModelContract, 'optimizer_types') == ('SGD',)
    assert stated(Stated, NetworkContract, 'largest_size') == 7
    for cls in (Stated, None):
        assert stated(cls, ModelContract, 'network_types') == ()
        assert stated(cls, ModelContract, 'crop_border_auto') is False
        assert stated(cls, DatasetContract, 'options_class') is None
