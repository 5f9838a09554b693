"""A signed folder is held to every file; another key, another file and no signature are said."""

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from jlab_compress.deployment.servers.command_line import main
from jlab_compress.deployment.servers.signing import SIGNATURE, sign, verify


def key(folder, name):
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    made, pem = ec.generate_private_key(ec.SECP256R1()), serialization.Encoding.PEM
    form, unlocked = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    private.write_bytes(made.private_bytes(pem, form, unlocked))
    public.write_bytes(made.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))
    return private, public


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    return key(folder, "mine"), key(folder, "theirs")


@pytest.fixture
def model(tmp_path):
    (tmp_path / "net" / "1").mkdir(parents=True)
    (tmp_path / "net" / "config.pbtxt").write_text("name")
    (tmp_path / "net" / "1" / "model.onnx").write_bytes(b"weights")
    (tmp_path / "net" / ".hidden").write_text("hidden")
    return tmp_path / "net"


CHANGES = {
    "content": lambda model: (model / "1" / "model.onnx").write_bytes(b"others"),
    "configuration": lambda model: (model / "config.pbtxt").write_text("other"),
    "hidden": lambda model: (model / ".hidden").write_text("other"),
    "more": lambda model: (model / "1" / "model.py").write_text("code"),
    "git": lambda model: (model / ".gitignore").write_text("code"),
    "fewer": lambda model: (model / ".hidden").unlink(),
    "renamed": lambda model: (model / "1").rename(model / "2"),
    "signature": lambda model: (model / SIGNATURE).write_text("{}"),
}


def test_what_was_signed_is_verified_as_often_as_one_likes(model, keys):
    (private, public), _ = keys
    for _ in range(2):
        assert sign(model, private) == model / SIGNATURE
        verify(model, public)


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_found(model, keys, change):
    (private, public), _ = keys
    sign(model, private)
    CHANGES[change](model)
    with pytest.raises(ValueError, match=r"folder: .*net' is not what was signed"):
        verify(model, public)


def test_another_key_a_missing_signature_and_a_link_are_said(model, keys, tmp_path):
    (private, public), (_, theirs) = keys
    with pytest.raises(ValueError, match=r"holds no model\.sig; it was not signed"):
        verify(model, public)
    sign(model, private)
    with pytest.raises(ValueError, match="is not what was signed"):
        verify(model, theirs)
    with pytest.raises(ValueError, match=r"private_key: .* cannot sign"):
        sign(model, public)
    (model / "1" / "more.onnx").symlink_to(public)
    for act in (sign, verify):
        with pytest.raises(ValueError, match=r"more.onnx' is a link, whose content no signature holds"):
            act(model, private)
        with pytest.raises(ValueError, match=r"expected the folder of a model, .*none' is none"):
            act(tmp_path / "none", private)


def test_a_shell_signs_and_verifies(model, keys, capsys):
    (private, public), (_, theirs) = keys
    main(["sign", str(model), str(private)])
    main(["verify", str(model), str(public)])
    assert "is what was signed" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="is not what was signed"):
        main(["verify", str(model), str(theirs)])


def test_a_missing_package_is_said(model, monkeypatch):
    for name in ("model_signing", "model_signing.signing"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(
        ImportError, match=r'model_signing is needed .*: pip install "jlab-compress\[signing\]"'
    ):
        sign(model, "key")
