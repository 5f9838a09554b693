"""How far a cell is, read off its bars: the outermost one, until it is over."""

import io
import threading

from tqdm import tqdm

from jlab_compress.notebook.kernel.tqdm_watch import Watch, reading


def bar(**options):
    return tqdm(file=io.StringIO(), mininterval=0, **options)


def test_without_a_bar_there_is_nothing_to_read():
    assert reading() is None
    with bar(total=3, disable=True):
        assert reading() is None


def test_the_outermost_bar_is_read():
    with bar(total=4, desc="all: ") as outer, bar(total=9, desc="one"):
        outer.update(3)
        found = reading()
    assert {key: found[key] for key in ("type", "label", "done", "total")} == {
        "type": "progress",
        "label": "all",
        "done": 3,
        "total": 4,
    }


def test_a_watch_tells_what_it_reads_and_that_it_is_over():
    told, heard = [], threading.Event()

    def tell(message):
        told.append(message)
        heard.set()

    with bar(total=4, desc="fit") as one:
        one.update(1)
        watch = Watch(tell, interval=0.01)
        assert heard.wait(10)
        watch.stop()
    assert (told[0]["label"], told[0]["done"], told[0]["total"]) == ("fit", 1, 4)
    assert told[-1]["done"] == told[-1]["total"]


def test_a_watch_that_saw_no_bar_tells_nothing():
    told = []
    watch = Watch(told.append, interval=0.001)
    watch.stop()
    assert told == []
