"""The report of all experiments: resumable, self-contained, and true to what was measured."""

import json
import re
import subprocess

import pytest
from click.testing import CliRunner

from experiments import everything
from experiments.__main__ import experiments
from experiments.reporting import findings, machine
from experiments.reporting.findings import Findings
from experiments.reporting.part import Part, Story
from experiments.reporting.report import command_line, derivation, report_text
from jvae.cli.options import flag


@pytest.fixture
def few_images(monkeypatch, tiny):
    from jvae.data import datasets

    few = tiny._replace(train_images=tiny.train_images[:100], test_images=tiny.test_images[:30])
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: few)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder for several parts, which train a model of equal settings once."""
    return tmp_path_factory.mktemp("report")


def run_all(folder, *more):
    flags = ["all", "--quick", "--dataset", "digits", "--device", "cpu", "--no-compile-cache", "--output", str(folder)]
    return CliRunner().invoke(experiments, [*flags, *more])


def a_part(name, measure, **more):
    """Return a part that takes no time to measure."""
    return Part(
        name, f"Exercise {name}", "What?", None, lambda s: 0.1, measure, lambda v: Story(f"It is {v['x']}.", ""), **more
    )


@pytest.mark.slow
@pytest.mark.usefixtures("few_images", "few_draws")
def test_all_makes_a_self_contained_report_with_the_mini_projects_page(tmp_path):
    names = ["code", "baseline", "priors"]
    done = run_all(
        tmp_path, "--latent-dim", "3", "--batch-size", "50", *[word for name in names for word in ("--only", name)]
    )
    assert done.exit_code == 0, done.output
    text = (tmp_path / "report.md").read_text()
    assert all(f"## {part.title}" in text for part in everything.PARTS if part.name in names)
    assert "--quick --dataset digits --latent-dim 3 --batch-size 50" in text
    assert str(tmp_path) not in text
    pictures = re.findall(r"^!\[.+\]\((.+)\)$", text, re.MULTILINE)
    assert len(pictures) == 8
    assert all((tmp_path / name).stat().st_size > 5000 for name in pictures)
    for page in ("report.html", "mini-project.html"):
        html = (tmp_path / page).read_text()
        assert html.count("data:image/png;base64,") == html.count("<img ")
        assert not re.findall(r"(?:src|href)=\"(?!data:|#)[^\"]*", html)
        assert "$" not in re.sub(r"<code.*?</code>", "", html, flags=re.DOTALL)
    assert (tmp_path / "report.html").read_text().count("<img ") == len(pictures)
    assert "## Exercise" not in (tmp_path / "mini-project.md").read_text().splitlines()[0]


@pytest.mark.slow
@pytest.mark.usefixtures("few_images", "few_draws")
@pytest.mark.parametrize(
    "name",
    ["ppca", "kl", "hierarchical", "outputs", "networks", "bounds", "exact", "estimators", "reparametrisation"],
)
def test_a_part_alone_prints_its_tables_and_writes_its_page(name, folder):
    part = next(part for part in everything.PARTS if part.name == name)
    shared = {"dataset": "digits", "latent_dim": "3", "batch_size": "50"}
    flags = [word for field, value in shared.items() if field in part.uses for word in (flag(field), value)]
    flags += ["--quick", "--output", str(folder)]
    more = {
        "ppca": ["--steps", "100", "--num-images", "30"],
        "kl": ["--draws", "500", "--vae-epochs", "1"],
        "bounds": ["--most", "10", "--images", "20"],
        "exact": ["--most", "100", "--images", "3", "--side", "60", "--finer", "40"],
        "reparametrisation": ["--most", "2", "--repeats", "3"],
    }
    done = CliRunner().invoke(experiments, [name, "--device", "cpu", "--no-compile-cache", *flags, *more.get(name, [])])
    assert done.exit_code == 0, done.output
    assert "| ---: |" in done.stdout
    assert "![" not in done.stdout
    html = (folder / f"{name}.html").read_text()
    assert f"<title>{part.title}</title>" in html
    assert ("<math" in html) == bool(part.derivation and "$" in derivation(part.derivation))
    assert html.count("data:image/png;base64,") == len(list((folder / name).glob("*.png")))
    assert "<img " in html


def test_a_finished_part_is_not_done_again_and_a_changed_setting_is(tmp_path, monkeypatch):
    calls = []

    def measure(lab):
        calls.append(lab.settings.runs)
        return {"x": len(calls)}, {}

    monkeypatch.setattr(everything, "PARTS", (a_part("one", measure, uses=("runs",)),))
    for more in ([], ["--epochs", "3"], ["--runs", "4"], ["--runs", "4"]):
        assert run_all(tmp_path, *more).exit_code == 0
    assert calls == [2, 4]
    assert json.loads((tmp_path / "one" / "results.json").read_text())["settings"] == {"runs": 4}
    assert "It is 2." in (tmp_path / "report.md").read_text()
    (tmp_path / "one" / "results.json").write_text("{")
    assert run_all(tmp_path, "--runs", "4").exit_code == 0
    assert calls == [2, 4, 4]


def test_results_of_other_versions_or_without_their_pictures_are_measured_again(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    calls = []

    def measure(lab):
        calls.append(1)
        return {"x": 1}, {"drawn": Figure()}

    part = a_part("one", measure, uses=())._replace(tell=lambda v: Story("It is.", "![It](drawn.png)"))
    monkeypatch.setattr(everything, "PARTS", (part,))
    results = tmp_path / "one" / "results.json"
    assert run_all(tmp_path).exit_code == run_all(tmp_path).exit_code == 0
    assert len(calls) == 1
    (tmp_path / "one" / "drawn.png").unlink()
    assert run_all(tmp_path).exit_code == 0
    assert len(calls) == 2
    written = json.loads(results.read_text())
    written["about"]["versions"]["jax"] = "0.0"
    results.write_text(json.dumps(written))
    assert run_all(tmp_path).exit_code == 0
    assert len(calls) == 3


def test_the_report_names_the_machine_of_the_results_and_the_command_of_each_part(tmp_path, monkeypatch):
    part = a_part("one", lambda lab, most=1, whole=False: ({"x": 1}, {}), uses=("runs", "quick"))
    monkeypatch.setattr(everything, "PARTS", (part,))
    assert run_all(tmp_path).exit_code == 0
    written = json.loads((tmp_path / "one" / "results.json").read_text())
    written["about"] |= {"machine": "another machine", "date": "1999-12-31", "commit": "abcdef0-dirty"}
    written["settings"] |= {"runs": 7, "most": 10, "whole": True}
    text = report_text({part: Findings(**written)}, "command")
    assert "another machine; jax on cpu (cpu)" in text
    assert "1999-12-31" in text
    assert "abcdef0-dirty" in text
    assert "`python -m experiments one --quick --runs 7 --most 10 --whole`" in text


def test_the_command_of_a_part_can_be_typed():
    settings = {
        "dataset": "npz:my own.npz",
        "run_counts": [1, 8],
        "who": ["jvae", "tuned"],
        "beside": "jvae-0.1.0 09a3a39",
    }
    found = Findings({}, {**settings, "fingerprint": "a", "quick": False}, 1.0, {})
    words = "--dataset 'npz:my own.npz' --run-counts 1,8 --who jvae --who tuned"
    assert command_line(a_part("throughput", None), found) == f"python -m experiments throughput {words}"


def test_parts_of_other_settings_stay_in_the_report(tmp_path, monkeypatch):
    parts = tuple(a_part(name, lambda lab: ({"x": lab.settings.runs}, {}), uses=("runs",)) for name in ("ppca", "kl"))
    monkeypatch.setattr(everything, "PARTS", parts)
    assert run_all(tmp_path, "--runs", "3").exit_code == 0
    assert run_all(tmp_path, "--runs", "4", "--only", "kl").exit_code == 0
    text = (tmp_path / "report.md").read_text()
    for said in ("It is 3.", "ppca --runs 3`", "It is 4.", "kl --runs 4`"):
        assert said in text
    (tmp_path / "ppca" / "results.json").write_text(
        json.dumps({"values": {}, "settings": {}, "seconds": 1, "about": {}})
    )
    assert run_all(tmp_path, "--runs", "4", "--only", "kl").exit_code == 0  # what cannot be told is left out
    assert "Exercise ppca" not in (tmp_path / "report.md").read_text()


def test_the_device_counts_and_not_its_name(tmp_path, monkeypatch):
    calls = []
    part = a_part("one", lambda lab: (calls.append(1) or {"x": 1}, {}), uses=("device",))
    monkeypatch.setattr(everything, "PARTS", (part,))
    for device in ("cpu", "auto"):
        words = ["all", "--dataset", "digits", "--device", device, "--output", str(tmp_path)]
        assert CliRunner().invoke(experiments, words).exit_code == 0
    assert len(calls) == 1


def test_a_report_is_told_again_as_it_was_measured(tmp_path, monkeypatch):
    part = a_part("one", lambda lab: ({"x": 1}, {}), uses=("runs", "quick"))
    monkeypatch.setattr(everything, "PARTS", (part,))
    assert run_all(tmp_path, "--runs", "3").exit_code == 0
    words = ["all", "--retell", "--output", str(tmp_path)]
    assert CliRunner().invoke(experiments, words).exit_code == 0
    text = (tmp_path / "report.md").read_text()
    assert f"`python -m experiments all --quick --runs 3 --output {tmp_path.name}`" in text
    assert "| seeds | 0 to 2 |" in text
    for more in (["--epochs", "3"], ["--only", "kl"], ["--quick"]):
        done = CliRunner().invoke(experiments, [*words, *more])
        assert (done.exit_code, done.stderr) == (2, f"jvae: error: {more[0]} cannot be used with --retell\n")


def test_a_part_offers_what_it_uses():
    for words in (["code", "--epochs", "3"], ["slopes", "--dataset", "digits"], ["kl", "--runs", "2"]):
        done = CliRunner().invoke(experiments, words)
        assert done.exit_code == 2
        assert f"No such option '{words[1]}'" in done.stderr
    done = CliRunner().invoke(experiments, ["bounds", "--exact", "--runs", "3"])
    assert (done.exit_code, done.stderr) == (2, "jvae: error: --runs cannot be used with --exact\n")


def test_results_say_the_commit_and_whether_files_differ_from_it(tmp_path, monkeypatch):
    def git(*words: str) -> str:
        identity = ("-c", "user.name=n", "-c", "user.email=n@example.org", "-c", "commit.gpgsign=false")
        run = subprocess.run(["git", *identity, *words], cwd=tmp_path, capture_output=True, text=True, check=True)
        return run.stdout.strip()

    (tmp_path / "machine.py").write_text("a")
    monkeypatch.setattr(machine, "__file__", str(tmp_path / "machine.py"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert machine.commit() == ""
    git("init")
    git("add", "machine.py")
    git("commit", "-m", "a")
    git("tag", "v1")
    assert machine.commit() == git("rev-parse", "--short", "HEAD")
    (tmp_path / "machine.py").write_text("b")
    assert machine.commit().endswith("-dirty")


def test_the_commit_of_results_is_the_one_that_was_loaded(tmp_path, monkeypatch):
    now = ["before"]

    def measure(lab):
        now[0] = "after"
        return {"x": 1}, {}

    for module in (findings, machine):
        monkeypatch.setattr(module, "commit", lambda: now[0])
    monkeypatch.setattr(everything, "PARTS", (a_part("one", measure),))
    assert run_all(tmp_path).exit_code == 0
    assert json.loads((tmp_path / "one" / "results.json").read_text())["about"]["commit"] == "before"


def test_a_part_that_fails_does_not_stop_the_others(tmp_path, monkeypatch):
    def fail(lab):
        (lab.folder / "here").touch()
        raise RuntimeError("the disk is on fire\nand more")

    good = a_part("good", lambda lab: ({"x": "good"}, {}), uses=())
    away = a_part("away", fail, uses=(), obstacle=lambda settings: "there is no torch")
    monkeypatch.setattr(everything, "PARTS", (a_part("bad", fail, uses=()), away, good))
    done = run_all(tmp_path)
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1] == "jvae: error: failed, or not as it must be: bad; the report says more"
    text = (tmp_path / "report.md").read_text()
    assert "RuntimeError: the disk is on fire" in text
    assert "Skipped: there is no torch" in text
    assert "It is good." in text
    assert not (tmp_path / "bad").exists()
    assert "Traceback" in (tmp_path / "bad-error.txt").read_text()
    monkeypatch.setattr(everything, "PARTS", (a_part("bad", lambda lab: ({"x": 1}, {}), uses=()), away, good))
    assert run_all(tmp_path).exit_code == 0
    assert not (tmp_path / "bad-error.txt").exists()


def test_what_cannot_be_measured_here_stays_in_the_report(tmp_path, monkeypatch):
    part = a_part("known", lambda lab: ({"x": "known"}, {}), uses=())
    monkeypatch.setattr(everything, "PARTS", (part,))
    assert run_all(tmp_path).exit_code == 0
    monkeypatch.setattr(everything, "PARTS", (part._replace(obstacle=lambda settings: "there is no torch"),))
    assert run_all(tmp_path).exit_code == 0
    assert "It is known." in (tmp_path / "report.md").read_text()


@pytest.mark.parametrize(
    ("more", "changes", "again"),
    [
        ({}, {"machine": "another"}, False),
        ({"timed": True}, {"machine": "another"}, True),
        ({}, {"torch": "1.0"}, False),
        ({"packages": ("torch",)}, {"torch": "1.0"}, True),
    ],
)
def test_times_of_another_machine_and_another_torch_are_not_this_ones(tmp_path, monkeypatch, more, changes, again):
    calls = []
    part = a_part("one", lambda lab: (calls.append(1) or {"x": 1}, {}), uses=())
    monkeypatch.setattr(everything, "PARTS", (part._replace(**more),))
    assert run_all(tmp_path).exit_code == run_all(tmp_path).exit_code == 0
    assert len(calls) == 1
    results = tmp_path / "one" / "results.json"
    kept = json.loads(results.read_text())
    if "torch" in changes:
        kept["about"]["versions"] |= changes
    else:
        kept["about"] |= changes
    results.write_text(json.dumps(kept))
    assert run_all(tmp_path).exit_code == 0
    assert len(calls) == 1 + again


def test_results_that_must_hold_and_do_not_are_an_error(tmp_path, monkeypatch):
    part = a_part("wrong", lambda lab: ({"x": 1}, {}), uses=())
    monkeypatch.setattr(everything, "PARTS", (part._replace(tell=lambda v: Story("It is wrong.", "", sound=False)),))
    assert run_all(tmp_path).exit_code == 1
    assert "Not everything is as it must be" in (tmp_path / "report.md").read_text()


def test_a_bad_setting_is_one_line(tmp_path):
    done = run_all(tmp_path, "--latent-dim", "5000")
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert "--latent-dim is 5000" in done.stderr
    done = CliRunner().invoke(experiments, ["networks", "--dataset", "digits", "--batch-size", "5000"])
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
    (tmp_path / "file").touch()
    done = CliRunner().invoke(experiments, ["code", "--output", str(tmp_path / "file" / "folder")])
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)


def test_a_log_tells_how_far_the_parts_are(tmp_path, monkeypatch):
    def measure(lab):
        lab.say("half of it")
        return {"x": 1}, {}

    monkeypatch.setattr(everything, "PARTS", tuple(a_part(name, measure, uses=()) for name in ("one", "two")))
    lines = run_all(tmp_path).stderr.splitlines()
    assert lines[0].startswith("to measure: one, two; about 2 min")
    for where in ("[1/2] one: ", "[2/2] two: "):
        assert [line.removeprefix(where) for line in lines if line.startswith(where)][:2] == ["begins", "half of it"]
    assert not [line for line in run_all(tmp_path).stderr.splitlines() if line.startswith("[")]
