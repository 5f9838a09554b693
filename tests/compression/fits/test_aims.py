"""One table of aims, from which Python, magics and panels take their choices."""

import pytest

from jlab_compress import Aim
from jlab_compress.compression.fits.aims import AIMS, BASELINES, read_aim
from jlab_compress.compression.fits.starts import subset


def test_every_aim_of_the_table_has_words_for_the_screen():
    assert list(AIMS) == ["dynamics", "function", "moments"]
    for name, aim in (AIMS | BASELINES).items():
        assert aim.name == name
    for aim in AIMS.values():
        assert aim.label
        assert aim.help.endswith(".")
    assert [aim.name for aim in AIMS.values() if aim.matches_training] == ["dynamics"]


def test_an_aim_is_read_by_name_or_taken_as_it_is():
    assert read_aim("moments") is AIMS["moments"]
    own = Aim("own", subset)
    assert read_aim(own) is own
    for wrong in ("greedy", "", None, 3):
        with pytest.raises(
            ValueError, match=r"preserve: expected one of \['dynamics', 'function', 'moments'\] or"
        ):
            read_aim(wrong)


@pytest.mark.parametrize("preserve", [None, ["function"], AIMS, Aim])
def test_what_names_no_aim_is_refused(preserve):
    with pytest.raises(ValueError, match=r"^preserve: expected one of .* or an Aim, got"):
        read_aim(preserve)
