"""How a long fit shows how far it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm.auto import tqdm

Step = Callable[[int, int], None]
Progress = bool | Callable[[str, int, int], None]


@contextmanager
def follow(progress: Progress, name: str, label: str = "") -> Iterator[Step]:
    """Give a function of (steps done, steps in all) that moves a bar, calls the caller's, or does nothing.

    The bar shows the label, or the name where there is none.

    Examples
    --------
    >>> with follow(lambda *seen: print(*seen), "encoder.0") as step:
    ...     step(1, 2)
    encoder.0 1 2
    """
    if callable(progress):
        yield lambda done, total: progress(name, done, total)
    elif not progress:
        yield lambda done, total: None
    else:
        with tqdm(unit="step", leave=False) as bar:
            # A description given to tqdm(...) itself is put into a page as HTML.
            bar.set_description((label or name)[:60])

            def move(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            yield move
            # A fit that needs fewer steps than it announced is no failure; a bar cut short turns red.
            bar.total = bar.n
