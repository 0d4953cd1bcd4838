"""`paretoscope graph` on the shipped example, in this process."""

import json

import pytest
from typer.testing import CliRunner

from engine.cli.commands import app
from engine.errors import InputError

pytestmark = pytest.mark.usefixtures("home")
SWEEP, BASELINE, CUT, W4 = "example-resnet8", "4f53cda18c2b", "6bc0680674d9", "f7ca2fa8015a"


def _run(*arguments):
    result = CliRunner().invoke(app, ["graph", SWEEP, *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stdout


def test_a_network_is_listed_and_drawn(tmp_path):
    target = tmp_path / "net.html"
    said = _run(CUT, "-o", str(target))
    page = target.read_text()

    assert "2/shortcut/Conv" in said
    assert page.count('class="mark"') == 16
    assert "://" not in page.replace("http://www.w3.org/2000/svg", "")
    found = json.loads(_run(CUT, "--json"))
    assert [box["operator"] for box in found["boxes"]].count("Conv") == 9
    assert len(json.loads(_run(CUT, "--every-node", "--json"))["boxes"]) > len(found["boxes"])


def test_the_difference_is_told_in_words_numbers_and_a_picture(tmp_path):
    target = tmp_path / "difference.html"
    said = _run(CUT, "--against", BASELINE, "-o", str(target))
    found = json.loads(_run(CUT, "--against", BASELINE, "--json"))

    assert "10 of 10 layers narrower, 10 in other bits" in said
    assert found["summary"] == "10 of 10 layers narrower, 10 in other bits"
    stem = next(layer for layer in found["layers"] if layer["layer"] == "0/0.0/Conv")
    assert (stem["first_channels"], stem["second_channels"], stem["second_weight_bits"]) == (16, 8, 8)
    assert "narrower, other bits: 10" in target.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--colour", "taste"], "--colour taste"),
        (["--colour", "time_ms"], "have no times yet"),
        (["--every-node", "--against", BASELINE], "compared by layers"),
    ],
)
def test_what_cannot_be_drawn_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        _run(CUT, *arguments)


def test_layers_are_coloured_by_what_layers_has_found(tmp_path):
    target = tmp_path / "net.html"
    with pytest.raises(InputError, match=r"have not been held against the baseline's yet; `paretoscope layers"):
        _run(CUT, "--colour", "similarity")
    assert CliRunner().invoke(app, ["layers", SWEEP, W4]).exit_code == 0
    _run(W4, "--colour", "similarity", "-o", str(target))
    assert "coloured by similarity (SQNR)" in target.read_text()
    assert " dB</text>" in target.read_text()
    with pytest.raises(InputError, match="is the baseline itself"):
        _run(BASELINE, "--colour", "similarity")
