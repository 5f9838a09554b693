"""A new file has its name only when it is whole."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jlab_compress.drafts import beside, check_target


def test_a_free_name_with_the_right_ending_is_given_back(tmp_path):
    assert check_target(tmp_path / "m.onnx") == tmp_path / "m.onnx"
    assert check_target(tmp_path / "m.pt2", suffix=".pt2") == tmp_path / "m.pt2"


def test_what_is_there_is_kept_unless_told(tmp_path):
    (tmp_path / "m.onnx").write_text("mine")
    with pytest.raises(FileExistsError, match="is there already; choose another name or pass overwrite=True"):
        check_target(tmp_path / "m.onnx")
    assert check_target(tmp_path / "m.onnx", overwrite=True).name == "m.onnx"
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(FileExistsError, match="is there already"):
        check_target(tmp_path / "folder.onnx", overwrite=True)


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [("m.txt", ValueError, r"ends in \.onnx, got 'm\.txt'"), ("no/m.onnx", FileNotFoundError, "create it")],
)
def test_a_place_that_cannot_be_is_named(name, error, words, tmp_path):
    with pytest.raises(error, match=words):
        check_target(tmp_path / name)


def test_a_closed_folder_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(PermissionError, match="cannot be written to; choose another one"):
        check_target(tmp_path / "m.onnx")


@pytest.mark.parametrize("fails", [False, True])
def test_the_room_beside_goes_with_all_that_is_in_it(fails, tmp_path):
    def use():
        with beside(tmp_path / "m.onnx") as room:
            (room / "draft").write_text("half")
            assert (room.parent, room.name.startswith(".")) == (tmp_path, True)
            if fails:
                raise KeyboardInterrupt

    if fails:
        with pytest.raises(KeyboardInterrupt):
            use()
    else:
        use()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_takes_no_file_is_named():
    with (
        pytest.raises(FileNotFoundError, match=r"^directory: cannot write '/proc/m' \(No such file"),
        beside(Path("/proc/m"), argument="directory"),
    ):
        pass


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        (
            OSError(errno.ENOSPC, "full"),
            OSError,
            r"^path: cannot write '.*m' \(No space left on device\); make",
        ),
        (OSError(errno.EROFS, "read-only"), OSError, r"\(Read-only file system\)"),
        (Exception("I/O error: File too large (os error 27)"), OSError, r"\(File too large\)"),
        (FileNotFoundError(errno.ENOENT, "none", "rows.pt"), FileNotFoundError, r"none: 'rows.pt'$"),
        (OSError("what the package itself says"), OSError, "^what the package itself says$"),
    ],
)
def test_only_faults_of_the_disk_are_told_as_such(fault, error, words, tmp_path):
    with pytest.raises(error, match=words), beside(tmp_path / "m"):
        raise fault
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fails", [False, True])
def test_removing_is_tried_again_where_it_was_interrupted(fails, tmp_path, monkeypatch):
    remove = [interrupted, shutil.rmtree]
    monkeypatch.setattr(shutil, "rmtree", lambda *given, **how: remove.pop(0)(*given, **how))
    with pytest.raises(KeyboardInterrupt, match="while removing"), beside(tmp_path / "m"):
        assert not fails
    assert list(tmp_path.iterdir()) == []


def interrupted(*_, **__):
    raise KeyboardInterrupt("while removing")


def test_what_a_killed_process_left_goes_and_what_a_living_one_writes_stays(tmp_path):
    write = (
        "import pathlib, sys, time\n"
        "from jlab_compress.drafts import beside\n"
        "with beside(pathlib.Path(sys.argv[1], 'm')) as room:\n"
        "    (room / 'half').write_text('half')\n"
        "    print(room, flush=True)\n"
        "    time.sleep(60)\n"
    )
    killed, alive = (
        subprocess.Popen([sys.executable, "-c", write, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    )
    try:
        rooms = [Path(process.stdout.readline().strip()) for process in (killed, alive)]
        killed.kill()
        killed.wait()
        (tmp_path / ".jlab-compress-mine").mkdir()
        with beside(tmp_path / "other"):
            assert [room.exists() for room in rooms] == [False, True]
        assert (tmp_path / ".jlab-compress-mine").exists()
    finally:
        alive.kill()
        alive.communicate()
        killed.communicate()


@pytest.mark.parametrize(
    "name",
    [
        "a\0.onnx",
        "a\n.onnx",
        "\ud800.onnx",
        "\x1b[31m.onnx",
        f"{'a' * 250}.onnx",
        f"{'é' * 120}.onnx",
        "b\0/a.onnx",
    ],
)
def test_names_that_a_system_cannot_have_or_show_are_refused(name, tmp_path):
    with pytest.raises(ValueError, match="path: expected a printable name of at most 200 bytes, got"):
        check_target(tmp_path / name)
    with (
        pytest.raises(ValueError, match="path: expected a printable name of at most 200 bytes, got"),
        beside(tmp_path / name),
    ):
        raise AssertionError("a room for it was made")
    assert list(tmp_path.iterdir()) == []
    assert check_target(tmp_path / "é ü 🙂.onnx").name == "é ü 🙂.onnx"
