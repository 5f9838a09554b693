"""A disk that is full or read-only, and a kill at any moment: one sentence, and the old version stays."""

import errno
import shutil
from pathlib import Path

import pytest

from tests.disks import OVER, Disk, Victim, largest_file
from tests.faults import session_in
from tests.fingerprint import differences

NUMBERS = (errno.ENOSPC, errno.EROFS)


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    with session_in(tmp_path_factory.mktemp("session")) as made:
        for write in OVER.values():
            write(made)
        yield made


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("name", OVER)
def test_a_write_that_is_refused_is_one_sentence_and_the_old_version_stays(name, session):
    """At up to four of the writes that Python asks for; `benchmarks/faults.py` takes each of them."""
    before, old = session.state(), contents(session.target)
    with (counted := Disk(session.target.parent)).used():
        OVER[name](session)
    put_back(session.target, old)
    assert counted.asked > 1
    for number, refused in enumerate(sorted({1, 2, counted.asked // 2, counted.asked})):
        disk = Disk(session.target.parent, refused, NUMBERS[number % 2])
        with disk.used(), pytest.raises(OSError, match=r"^\w+: cannot write .*; make room or"):
            OVER[name](session)
        assert session.half() == []
        assert contents(session.target) == old
        assert differences(before, session.state()) == []


def put_back(folder, old):
    for path in contents(folder).keys() - old.keys():
        shutil.rmtree(path.parent, ignore_errors=True)
    for path, content in old.items():
        path.write_bytes(content)


@pytest.mark.parametrize("size", [0, 1000])
@pytest.mark.parametrize("name", OVER)
def test_what_the_system_refuses_to_compiled_code_is_one_sentence_too(name, size, session):
    before, old = session.state(), contents(session.target)
    with (
        largest_file(size),
        pytest.raises(OSError, match=r"^\w+: cannot write .*File too large"),
    ):
        OVER[name](session)
    assert session.half() == []
    assert contents(session.target) == old
    assert differences(before, session.state()) == []


@pytest.mark.parametrize(("name", "seconds"), [("save", 0.003), ("save", 0.01), ("export_repository", 0.5)])
def test_a_kill_leaves_the_old_version_and_nothing_after_the_next_call(name, seconds, tmp_path):
    with session_in(tmp_path) as mine:
        place = tmp_path / "theirs"
        place.mkdir()
        assert Victim(place, name).kill_after(seconds)
        shutil.rmtree(mine.target)
        shutil.copytree(place / "target", mine.target)
        for left in place.glob(".*"):
            shutil.copytree(left, mine.target.parent / left.name)
        assert [found for found in mine.half() if not found.startswith(".")] == []
        assert list(Path(mine.target).glob("[!.]*"))
        OVER[name](mine)
        assert mine.half() == []
