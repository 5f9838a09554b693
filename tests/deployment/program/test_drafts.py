"""A new file has its name only when it is whole."""

import os
from pathlib import Path

import pytest

from jlab_compress.deployment.program.drafts import beside, check_target


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
    with pytest.raises(PermissionError, match=r"'/proc' cannot be written to \("), beside(Path("/proc/m")):
        pass


@pytest.mark.parametrize("fails", [False, True])
def test_the_room_beside_goes_with_all_that_is_in_it(fails, tmp_path):
    def use():
        with beside(tmp_path / "m.onnx") as room:
            (room / "draft").write_text("half")
            assert (room.parent, room.name.startswith(".m.onnx.")) == (tmp_path, True)
            if fails:
                raise KeyboardInterrupt

    if fails:
        with pytest.raises(KeyboardInterrupt):
            use()
    else:
        use()
    assert list(tmp_path.iterdir()) == []
