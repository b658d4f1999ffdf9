"""Published tables, reproduced: trained in several sessions, and told beside the papers' numbers."""

import json

import click
import pytest

from experiments.literature.rows import Row
from experiments.parts import literature
from experiments.reporting import findings
from experiments.reporting.findings import obtain
from experiments.reporting.lab import Lab
from experiments.reporting.settings import Settings
from jvae.errors import JvaeError

SMALL = Row("A paper", "standard prior", "vampprior.py", {"prior": "gaussian"}, 2, 50, -20.0, 0.3, 1)


@pytest.fixture
def lab(tmp_path, monkeypatch, tiny):
    monkeypatch.setattr(literature, "ROWS", {"small": SMALL, "other": SMALL})
    monkeypatch.setattr(literature, "DEFAULT", ("small",))
    monkeypatch.setattr(literature, "DRAWS", 20)
    monkeypatch.setattr(Lab, "data", tiny._replace(name="mnist"))
    return Lab(Settings(), tmp_path)


@pytest.mark.slow
def test_a_row_is_resumed_and_what_is_finished_stays(lab, tmp_path):
    (row,) = obtain(literature.PART, lab, {"minutes": 1e-9}).values["rows"]
    assert (row["epochs"], row["epochs_asked"], row["obtained"]["value"]) == (0, 2, None)
    state = tmp_path / "literature" / "state" / "small-seed0.npz"
    assert state.exists()
    found = obtain(literature.PART, lab)
    (row,) = found.values["rows"]
    assert row["epochs"] == 2
    assert -60 < row["obtained"]["value"] < -15
    assert row["obtained"]["monte_carlo_error"] > 0
    assert json.loads((tmp_path / "literature" / "results.json").read_text())["settings"] == found.settings
    assert obtain(literature.PART, lab).values == found.values
    both = obtain(literature.PART, lab, {"rows": ("other",), "minutes": 1e-9}).values["rows"]
    assert both[0] == row
    assert (both[1]["id"], both[1]["epochs"]) == ("other", 0)
    assert not state.exists()


def test_a_training_outlives_a_sitting_and_a_save_that_fails(tmp_path, monkeypatch):
    """A state without results is resumed; a save that fails changes nothing, and no save touches other files."""
    folder, state = tmp_path / "literature", tmp_path / "literature" / findings.STATE / "x.npz"
    state.parent.mkdir(parents=True)
    state.write_text("hours")
    with click.Context(click.Command("literature")):
        findings.check_folder(tmp_path, [literature.PART])
    found = findings.Findings({"rows": []}, {}, 1.0, {})
    findings.save_findings(folder, found, {})
    (folder / "notes.json").write_text("mine")
    with monkeypatch.context() as patch:
        patch.setattr("jvae.files.write_json", lambda *_: (_ for _ in ()).throw(OSError("full")))
        with pytest.raises(JvaeError, match="cannot be written: full"):
            findings.save_findings(folder, found._replace(seconds=2.0), {})
    assert findings.load_findings(folder) == found
    findings.save_findings(folder, found._replace(seconds=3.0), {})
    assert findings.load_findings(folder).seconds == 3.0
    assert (state.read_text(), (folder / "notes.json").read_text()) == ("hours", "mine")
    assert [path.name for path in tmp_path.iterdir()] == ["literature"]


def test_a_save_that_was_killed_is_ended_by_the_next_command(tmp_path):
    folder, new = tmp_path / "kl", tmp_path / f"{findings.NEW}kl"
    for path in (folder, new):
        path.mkdir()
        (path / findings.RESULTS).write_text(f'"{path.name}"')
        (path / "both.png").write_bytes(path.name.encode())
        (path / f"{path.name}.png").touch()
    with findings.open_folder(tmp_path):
        assert sorted(path.name for path in folder.iterdir()) == [".new-kl.png", "both.png", "results.json"]
        assert (folder / "both.png").read_text() == ".new-kl"
        assert (folder / findings.RESULTS).read_text() == '".new-kl"'
        assert not new.exists()
    new.mkdir()
    (new / "half.png").touch()  # killed before its results: it is given up
    with findings.open_folder(tmp_path):
        assert not new.exists()
        assert not (folder / "half.png").exists()


def test_a_row_of_other_data_is_not_taken_over(tmp_path):
    digits = findings.Findings({"rows": [made(-20.0)], "quick": False}, {"quick": False, "fingerprint": "a"}, 1.0, {})
    findings.save_findings(tmp_path, digits, {})
    assert list(literature.earlier(tmp_path / findings.RESULTS, False, "a")) == ["x"]
    assert literature.earlier(tmp_path / findings.RESULTS, False, "b") == {}
    assert literature.earlier(tmp_path / findings.RESULTS, True, "a") == {}
    with pytest.raises(JvaeError, match="--dataset is digits: the published rows are of mnist"):
        literature.measure(Lab(Settings(dataset="digits"), tmp_path))


def test_results_that_went_on_have_the_seconds_and_the_code_of_both_sittings():
    first = findings.Findings({}, {}, 10.0, {"commit": "a", "machine": "one, 2 cores", "date": "1"})
    second = findings.Findings({"x": 1}, {}, 5.0, {"commit": "b", "machine": "one, 2 cores", "date": "2"})
    both = findings.continued(findings.continued(first, second), second)
    assert (both.values, both.seconds) == ({"x": 1}, 20.0)
    assert both.about == {"commit": "a and b", "machine": "one, 2 cores", "date": "2"}


def made(value, finished=True, **more):
    seed = {"seed": 0, "finished": finished, "value": value, "standard_error": 0.3, "monte_carlo_error": 0.1}
    return literature.row_of("x", SMALL._replace(**more), [{**seed, "epochs": 2, "seconds": 1.0, "versions": {}}])


NEAR = "standard prior: -20.20 nats beside -20.00, within 0.3"
NONE = "No model that would be judged is trained to its end yet."


@pytest.mark.parametrize(
    ("rows", "quick", "said", "sound"),
    [
        ([made(-20.2)], False, f"Reproduced: {NEAR}.", True),
        ([made(-20.2), made(None, finished=False)], False, f"Reproduced: {NEAR}. Unfinished: standard prior.", True),
        ([made(None, finished=False)], False, f"{NONE} Unfinished: standard prior.", True),
        ([made(-20.4)], False, "Not reproduced: standard prior by -0.40 nats.", False),
        ([made(-20.4, within=None)], False, NONE, True),
        ([made(-35.0)], True, "nothing here can be compared", True),
    ],
)
def test_a_row_is_reproduced_within_what_is_asked(rows, quick, said, sound, monkeypatch):
    monkeypatch.setattr(literature, "DEFAULT", ("x",))
    story = literature.tell({"rows": rows, "quick": quick})
    assert said in story.short
    assert story.sound == sound
    assert ("| -0.40 |" in story.text) == (said.startswith("Not") or rows[0]["within"] is None)


def test_a_row_that_was_never_begun_is_not_finished():
    rows = [{**made(-20.2), "id": name} for name in literature.DEFAULT]
    assert literature.PART.finished({"rows": rows, "quick": False})
    assert not literature.PART.finished({"rows": rows[:-1], "quick": False})
    assert "Unfinished: VampPrior." in literature.tell({"rows": rows[:-1], "quick": False}).short
    assert literature.PART.worked({"rows": rows}) == sum(row["seconds"] for row in rows)


def test_errors_over_seeds():
    seeds = [{**made(value)["seeds"][0], "seed": i} for i, value in enumerate((-20.0, -21.0))]
    obtained = literature.row_of("x", SMALL, seeds)["obtained"]
    assert obtained["value"] == -20.5
    assert obtained["standard_error"] == pytest.approx(0.5)
    assert obtained["monte_carlo_error"] == pytest.approx(0.1 * 2**0.5 / 2)
