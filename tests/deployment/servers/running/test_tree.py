"""A server sees links to the models that it was started for; what would run code is refused."""

import pytest

from jlab_compress.deployment.servers.running.tree import lay_tree, link_versions, names_in

CONFIG = 'name: "net"\nbackend: "onnxruntime"\n'


@pytest.fixture
def repository(tmp_path):
    for name in ("net", "other"):
        (tmp_path / "repo" / name / "1").mkdir(parents=True)
        (tmp_path / "repo" / name / "config.pbtxt").write_text(CONFIG)
        (tmp_path / "repo" / name / "1" / "model.onnx").write_bytes(b"")
    return tmp_path / "repo"


def test_only_named_models_are_seen_and_new_versions_once_they_are_asked_for(repository, tmp_path):
    tree = tmp_path / "tree"
    lay_tree(tree, repository, ("net",))
    assert names_in(tree) == ("net",)
    for new in ("10", "2", "²", ".m.1234", "draft"):
        (repository / "net" / new).mkdir()
    assert sorted(path.name for path in (tree / "net").iterdir()) == ["1", "config.pbtxt"]
    assert link_versions(tree, "net") == [2, 10]
    assert link_versions(tree, "net") == []
    assert (tree / "net" / "1" / "model.onnx").is_file()


@pytest.mark.parametrize("name", ["nothing", "../repo/net", ""])
def test_a_model_that_is_not_there_is_named(repository, tmp_path, name):
    with pytest.raises(ValueError, match=r"name: .* holds no model .*; it holds net, other"):
        lay_tree(tmp_path / "tree", repository, (name,))
    lay_tree(tmp_path / "tree", repository, ("net",))
    with pytest.raises(ValueError, match=r"name: the server holds no model .*; it holds net"):
        link_versions(tmp_path / "tree", name)


@pytest.mark.parametrize(
    "text",
    [
        'backend: "python"',
        "backend: 'python'\n# backend: \"onnxruntime\"",
        'platform: "onnxruntime_onnx"',
        'parameters { key: "a" value { string_value: "backend: \\"onnxruntime\\"" } }',
        "",
    ],
)
def test_a_backend_that_runs_code_is_refused(repository, tmp_path, text):
    (repository / "net" / "config.pbtxt").write_text(f'name: "net"\n{text}\n')
    with pytest.raises(ValueError, match=r'repository: expected the line backend: "onnxruntime" in '):
        lay_tree(tmp_path / "tree", repository, ("net",))


@pytest.mark.parametrize("path", ["1/model.py", "model.py", "1/libtriton_onnxruntime.so", "1/deep/a.so.1"])
def test_code_beside_a_model_is_refused(repository, tmp_path, path):
    (repository / "net" / path).parent.mkdir(exist_ok=True)
    (repository / "net" / path).write_text("")
    with pytest.raises(ValueError, match=r"repository: .* is code that a server would run"):
        lay_tree(tmp_path / "tree", repository, ("net",))
