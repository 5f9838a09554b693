"""Sign a model's folder and verify it: sums tell of accidents, a signature tells who wrote the files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jlab_compress.errors import in_words
from jlab_compress.extras import require

SIGNATURE = "model.sig"


def sign(folder: str | Path, private_key: str | Path) -> Path:
    """Sign every file in a folder with an elliptic-curve key; nothing is sent anywhere.

    Parameters
    ----------
    folder : str or Path
        A model's folder in a repository, or a whole repository.
    private_key : str or Path
        A PEM file, as ``openssl ecparam -name prime256v1 -genkey -noout -out private.pem`` makes it.

    Returns
    -------
    Path
        The signature, ``model.sig`` in the folder; one that was there is replaced.

    Raises
    ------
    ImportError
        If the extra "signing" is not installed.
    ValueError
        If the folder is not there or holds a link, or the key is none.
    """
    module, place = require("model_signing.signing", "signing"), _checked(folder)
    try:
        config = module.Config().use_elliptic_key_signer(private_key=Path(private_key))
        config.set_hashing_config(_everything(place)).sign(place, place / SIGNATURE)
    except (OSError, ValueError, TypeError) as fault:
        raise ValueError(f"private_key: {str(private_key)!r} cannot sign ({in_words(fault)})") from fault
    return place / SIGNATURE


def verify(folder: str | Path, public_key: str | Path) -> None:
    """Hold a folder to its signature: the same files, each with the same content, signed with this key.

    Parameters
    ----------
    folder : str or Path
        What was signed, with its ``model.sig``.
    public_key : str or Path
        A PEM file, as ``openssl ec -in private.pem -pubout -out public.pem`` makes it, from a source that
        you trust; a key that came with the folder proves nothing.

    Raises
    ------
    ImportError
        If the extra "signing" is not installed.
    ValueError
        If anything differs, or there is no signature of this key.
    """
    module, place = require("model_signing.verifying", "signing"), _checked(folder)
    if not (place / SIGNATURE).is_file():
        raise ValueError(f"folder: {str(folder)!r} holds no {SIGNATURE}; it was not signed")
    try:
        config = module.Config().use_elliptic_key_verifier(public_key=Path(public_key))
        config.set_hashing_config(_everything(place)).verify(place, place / SIGNATURE)
    except Exception as fault:  # whatever a file that somebody else wrote makes the verifier raise
        raise ValueError(f"folder: {str(folder)!r} is not what was signed ({in_words(fault)})") from fault


def _checked(folder: str | Path) -> Path:
    place = Path(folder)
    if not place.is_dir():
        raise ValueError(f"folder: expected the folder of a model, {str(folder)!r} is none")
    links = [path for path in (place, *place.rglob("*")) if path.is_symlink()]
    if links:
        raise ValueError(f"folder: {str(links[0])!r} is a link, whose content no signature holds; copy it")
    return place


def _everything(place: Path) -> Any:
    """Return how files are hashed: all of them, hidden ones too, but for the signature itself."""
    config = require("model_signing.hashing", "signing").Config()
    return config.set_ignored_paths(paths=[place / SIGNATURE], ignore_git_paths=False)
