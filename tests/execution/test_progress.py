"""A bar is full when the work is done, and cut short only by an error."""

import pytest

from jlab_compress.execution import progress
from jlab_compress.execution.progress import follow


class Bar(progress.tqdm):
    """Remembers how full each bar was when it closed."""

    closed: list[tuple[int, int | None]] = []  # noqa: RUF012

    def close(self):
        Bar.closed.append((self.n, self.total))
        super().close()


@pytest.fixture
def bars(monkeypatch):
    monkeypatch.setattr(progress, "tqdm", Bar)
    Bar.closed.clear()
    return Bar.closed


def test_fewer_steps_than_announced_fill_the_bar(bars):
    with follow(True, "0") as step:
        step(3, 10)
    assert bars[0] == (3, 3)


def test_an_error_leaves_the_bar_cut_short(bars):
    def fails():
        with follow(True, "0") as step:
            step(3, 10)
            raise ValueError("stopped")

    with pytest.raises(ValueError, match="stopped"):
        fails()
    assert bars[0] == (3, 10)
