"""What the READMEs promise: few words, working links, figures from kept results, commands that are run."""

import json
import re
import shlex
from collections import Counter
from functools import cache

import click
import numpy as np
import pytest
from readme import OF_ENVIRONMENTS, READMES, ROOT, blocks, commands, text_of, tour

from experiments.__main__ import experiments
from experiments.everything import PARTS
from experiments.literature.rows import ROWS
from jvae.cli.main import main

README = text_of("README.md")
NUMBER = r"\d[\d,]*(?:\.\d+)?"
FIGURE = re.compile(rf"{NUMBER} ± {NUMBER}|{NUMBER}")
SWEEP = "## Ten runs beside published ones"
"""The section that compares a sweep with others' results, its table's last column."""


def sections(text: str) -> dict[str, str]:
    """Return the sections of a Markdown text by heading; lines in code are no headings."""
    parts = re.split(r"^(#{2,3} .+)$", re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def table(text: str) -> list[list[str]]:
    """Return the cells of a text's first table, without its header."""
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def figures(text: str) -> set[str]:
    """Return the numbers of a text, each with its error if it has one, without signs."""
    return set(FIGURE.findall(text))


@cache
def told(name: str, file: str = "results") -> set[str]:
    """Return the figures in a part's story of its kept results, or of others that are kept beside them."""
    (part,) = (part for part in PARTS if part.name == name)
    kept = json.loads((ROOT / "experiments" / "report" / name / f"{file}.json").read_text(encoding="utf-8"))
    story = part.tell(kept["values"])
    return figures(f"{story.short} {story.text}")


def test_the_readme_is_short():
    words = re.sub(r"^```.*$", "", README, flags=re.MULTILINE).replace("|", " ").split()
    assert len(words) <= 900
    assert max(map(len, README.splitlines())) <= 120
    (own,) = blocks(README, "python")
    assert len([line for line in own.splitlines() if line]) <= 15


@pytest.mark.parametrize("name", [*READMES, ".github/CONTRIBUTING.md", "experiments/scaling.md"])
def test_every_link_leads_somewhere(name):
    for link in re.findall(r"\]\(([^)#]*(?:#[^)]*)?)\)", text_of(name)):
        if link.startswith(("http:", "https:")):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / name).parent / path if path else ROOT / name
        assert target.exists(), f"{name}: {link}"
        if anchor:
            heads = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}
            assert anchor in anchors, f"{name}: {link}"


@pytest.mark.parametrize(
    ("name", "heading"), [("README.md", "## The exercise sheet"), ("experiments/README.md", "## Studies")]
)
def test_the_figures_of_the_exercises_are_those_of_the_kept_results(name, heading):
    rows = [[part.strip("`") for part in row] for row in table(sections(text_of(name))[heading])]
    parts = {part.name for part in PARTS}
    for row in rows:
        (measured,) = (cell for cell in row[1:] if cell not in parts and "`" not in cell)
        for part in (cell for cell in row if cell in parts):
            wrong = figures(measured.replace("IWAE-1000", "").replace("M = 2", "").replace("K, ", "")) - known(part)
            assert not wrong, f"{row[0]}: {wrong}"


def test_the_kept_results_are_of_one_commit():
    assert "of all parts but `literature` are of one commit" in text_of("experiments/README.md")
    kept = {path: json.loads(path.read_text(encoding="utf-8")) for path in ROOT.glob("experiments/report/*/*.json")}
    of = {path.relative_to(ROOT): known["about"]["commit"] for path, known in kept.items() if "about" in known}
    measured = {path.parent.name for path in of}
    assert measured == {part.name for part in PARTS}
    assert len({commit for path, commit in of.items() if path.parent.name != "literature"}) == 1


def known(part: str) -> set[str]:
    """Return the figures of a part's kept results, if there are any."""
    return told(part) if (ROOT / "experiments" / "report" / part / "results.json").exists() else set()


def test_what_is_reproduced_stands_beside_its_reference():
    for what, obtained, reference, source in table(sections(README)["## Reproduced"]):
        assert source == "the exercise in PyTorch"
        assert figures(obtained) | figures(reference) <= told("mirror"), what
    for what, obtained, reference, source in table(sections(text_of("experiments/README.md"))["## The literature"]):
        ((name, row),) = ((name, row) for name, row in ROWS.items() if row.what == what)
        assert float(reference) == row.reference
        assert source.split()[0] == row.paper.split()[0].strip(",")
        value = finished(name)
        assert obtained.startswith(f"{value:.2f}") if value is not None else not figures(obtained), what


def test_the_unfinished_row_is_quoted_from_its_evaluation():
    folder = ROOT / "experiments" / "report" / "literature"
    found = json.loads((folder / "vamp-vamp-unfinished.json").read_text(encoding="utf-8"))["iwae"]
    text = sections(text_of("experiments/README.md"))["## The literature"]
    (quoted,) = re.findall(r"IWAE-(\d+) is (\S+) with a standard error of ([\d.]+), ([\d.]+) above\s+IWAE-500", text)
    errors = found["iwae"]["standard_error"], found["rise"]
    expected = (found["num_samples"], found["iwae"]["value"], *errors)
    assert quoted == tuple(f"{value:.2f}" if isinstance(value, float) else str(value) for value in expected)


def finished(name: str) -> float | None:
    """Return the result of a row of the literature, if it was trained to its end."""
    path = ROOT / "experiments" / "report" / "literature" / "results.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["values"]["rows"] if path.exists() else []
    return next((row["obtained"]["value"] for row in rows if row["id"] == name), None)


def test_the_seconds_are_the_measured_ones():
    for program, *cells in table(sections(README)["## Speed"]):
        assert figures(" ".join(cells)) - {"1"} <= told("throughput"), program
    speed = sections(text_of("experiments/README.md"))["## Speed"]
    mlp, cnn, whole = re.split("The CNN, medians of|The whole command of", speed)
    ranges = re.findall(r"\d\.\d\d to \d\.\d\d", mlp)
    assert len(ranges) == 6
    assert figures(" ".join(ranges)) <= told("throughput")
    for text, name in (mlp, "results"), (cnn, "cnn"), (whole, "whole"):
        for program, *cells in table(text):
            assert figures(" ".join(cells)) - {"1"} <= told("throughput", name), program


def test_the_settings_are_the_measured_ones():
    text = sections(text_of("experiments/README.md"))["### Settings"]
    for setting, *ratios in table(text):
        assert figures(" ".join(ratios)) <= told("settings"), setting
    assert figures(re.search(r"\(([\d.]+ ms a step .*?)\)", text)[1]) <= told("settings")


def test_the_seconds_on_a_gpu_are_the_medians_of_the_log():
    log = (ROOT / "experiments" / "report" / "throughput" / "h100.log").read_text(encoding="utf-8")
    assert " / ".join(log.splitlines()).count("at commit") == 1
    seconds: dict[tuple[str, str], list[float]] = {}
    for who, runs, each in re.findall(r"^round [23]/3: (\w+), runs (\d+): ([\d.]+) s$", log, re.MULTILINE):
        seconds.setdefault((who, runs), []).append(float(each))
    names = {"exercise's": "exercise", "graphs": "graphs", "and compiled": "compiled", "tuned": "tuned", "jvae": "jvae"}
    rows = table(sections(text_of("experiments/README.md"))["### On a GPU"])
    assert len(rows) == len(seconds)
    for program, runs, epoch, minute in rows:
        who = next(who for word, who in names.items() if word in program)
        median = np.median(seconds[who, runs])
        assert float(epoch.removesuffix(" s")) == pytest.approx(median, abs=0.0051), program
        assert float(minute.replace(",", "")) == pytest.approx(int(runs) * 60 / (5 * median), abs=0.51), program
    shown = {epoch for _, _, epoch, _ in rows}
    (sentence,) = re.findall(r"On an NVIDIA H100(.*?)\[", README, re.DOTALL)
    assert set(re.findall(r"[\d.]+ s\b", sentence)) <= shown


def test_every_figure_with_an_error_was_kept_and_stands_in_one_place():
    names = [part.name for part in PARTS if (ROOT / "experiments" / "report" / part.name / "results.json").exists()]
    everything = set().union(*map(told, names))
    found: Counter[str] = Counter()
    for name in READMES:
        text = re.sub(rf"^{SWEEP}$.*?(?=^## )", "", text_of(name), flags=re.MULTILINE | re.DOTALL)
        found.update(figure for figure in FIGURE.findall(text) if "±" in figure)
    assert found.keys() <= everything
    assert [figure for figure, count in found.items() if count > 1] == []


def test_the_sweeps_table_is_what_was_kept():
    folder = ROOT / "experiments" / "report" / "sweep"
    kept = json.loads((folder / "results.json").read_text(encoding="utf-8"))["cells"]
    rows = table(sections(text_of("experiments/README.md"))[SWEEP])
    assert [row[0] for row in rows] == [cell["settings"]["prior"] for cell in kept]
    for (prior, *measured, _), cell in zip(rows, kept, strict=True):
        spreads = [cell[name] for name in ("elbo", "reconstruction", "kl")]
        told = [f"{each['mean']:.2f} ± {each['standard_deviation']:.2f}" for each in spreads]
        assert [each.strip("*") for each in measured] == told, prior
        assert [run["seed"] for run in cell["runs"]] == list(range(10))


def test_the_injected_faults_are_counted():
    injected = re.search(rf"({NUMBER}) injected faults", README)[1]
    assert injected in told("faults")


def test_the_commands_of_the_blocks_are_run_by_ci():
    """Verbatim, by `tests/readme.py`, except those that make an environment."""
    script, ci = tour(README), (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "tests/readme.py" in ci
    for command in commands(README):
        if command.startswith(OF_ENVIRONMENTS):
            assert all(word in ci for word in shlex.split(command)[1:] if "venv" not in word), command
        else:
            assert command in script.splitlines()


INLINE = [span for span in re.findall(r"`([^`\n]+)`", README) if re.match(r"(jvae|python -m)( |$)", span)]
TESTED = [path for path in sorted((ROOT / "tests").rglob("test_*.py")) if path.name != "test_readme.py"]


@pytest.mark.parametrize("command", sorted(set(INLINE)))
def test_a_command_within_a_line_is_known_and_run_by_a_test(command):
    """All its words are in one test's file, as a command's words are."""
    program, rest = (experiments, command.split()[3:]) if "experiments" in command else (main, command.split()[1:])
    found: click.Command = program
    while rest and isinstance(found, click.Group):
        found, *rest = found.commands[rest[0]], *rest[1:]
    options = [word for word in rest if word.startswith("--")]
    assert set(options) <= {option for parameter in found.params for option in parameter.opts}
    path = [word for word in command.split() if word not in ("jvae", "python", "-m", "experiments", *rest)]
    words = [*path, *options]
    assert any(all(f'"{word}"' in text or f" {word} " in text for word in words) for text in texts()), command


@cache
def texts() -> list[str]:
    """Return the text of every test."""
    return [path.read_text(encoding="utf-8") for path in TESTED]


def test_every_part_of_the_table_is_measured_by_a_test():
    (measured,) = (path for path in TESTED if path.name == "test_everything.py")
    for row in table(sections(README)["## The exercise sheet"]):
        assert f'"{row[1].strip("`")}"' in measured.read_text(encoding="utf-8")
