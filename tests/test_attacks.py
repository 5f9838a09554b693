"""The short form of `benchmarks/attacks.py`: nothing that others try gets through; servers in their room."""

import pytest

from tests import attackers


@pytest.mark.parametrize(
    "attack", [attackers.comm_messages, attackers.widget_messages, attackers.odd_objects]
)
def test_nothing_gets_through(attack, tmp_path):
    tries = list(attack(tmp_path, 300))
    assert len(tries) == 300
    assert [through for through in tries if through] == []
