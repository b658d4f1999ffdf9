"""The report: the parts' stories, put together as Markdown and as one self-contained page of HTML."""

import dataclasses
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from experiments.reporting.comparison import table
from experiments.reporting.machine import about
from experiments.reporting.page import to_html
from experiments.reporting.part import Part, Result, Story
from experiments.reporting.settings import FULL, QUICK, Settings

PARTS_FOLDER = Path(__file__).parent.parent / "parts"
ABOUT = """\
Variational autoencoders in JAX: every question of the week-1 sheet of Advanced Machine Learning (02460), and the
mini-project. All figures and pictures come from the command below, and every judgement was made by them.
Where two models are compared, `+2.7 ± 0.2` is the mean of their seed-by-seed differences and its standard error;
*better* and *worse* are said only where Student's 95 % interval of that mean excludes zero, and *no difference beyond
the noise* elsewhere. With two seeds the interval is 13 standard errors wide to each side, with five it is 2.8. Each
interval stands alone: of twenty comparisons without any difference one is called better or worse by chance, and the
table of the priors alone makes sixteen. Two things are judged otherwise. The mirror is unpaired, for one seed starts
the two frameworks differently: its bar, set beforehand, is two standard errors of the difference of the means, beside
Welch's 95 % interval. What a theory demands of IWAE, and the variances of exercise 1.2, are judged by 99.9 %
intervals."""


class Chapter(NamedTuple):
    """A part in the report: its results, or why there are none."""

    part: Part
    result: Result | None
    skipped: str = ""
    failed: str = ""

    @property
    def story(self) -> Story:
        """Its results in words, or what there is to say instead."""
        if self.failed:
            error = f"`{self.failed.replace('`', '')}`"
            return Story(f"**Failed**: {error}", f"This part failed: {error}", sound=False)
        if self.result is None:
            return Story(f"Skipped: {self.skipped}", f"This part was skipped: {self.skipped}")
        return self.part.tell(self.result.values)


def report(chapters: Sequence[Chapter], command: str, seeds: int, seconds: float) -> str:
    """The whole report as Markdown."""
    rows = [[link(c.part.title), c.story.short] for c in chapters]
    wrong = [c.part.title for c in chapters if not c.story.sound]
    lines = [
        "# The exercise sheet, answered by measurement",
        ABOUT,
        header(command, seeds, seconds, chapters),
        *([f"> **Not everything is as it must be**: {'; '.join(wrong)}."] if wrong else []),
        "## The answers in short",
        table(["exercise", "answer"], rows).replace("---:", "---"),
        *[chapter_text(c) for c in chapters],
    ]
    return "\n\n".join(lines) + "\n"


def header(command: str, seeds: int, seconds: float, chapters: Sequence[Chapter]) -> str:
    """How the report came to be: everything that its parts were measured with, should it be more than one machine."""
    sources = [c.result.about for c in chapters if c.result is not None] or [about()]
    versions = [", ".join(f"{name} {number}" for name, number in s["versions"].items()) for s in sources]
    machines = [f"{s['machine']}; jax on {s['devices']}" for s in sources]
    dates = sorted(s["date"] for s in sources)
    done = sum(c.result is not None for c in chapters)
    rows = [
        ["command", f"`{command}`"],
        ["seeds", f"0 to {seeds - 1}" if seeds > 1 else "0"],
        ["time", f"{duration(seconds)} for {done} part{'s' * (done != 1)}"],
        ["machine", "; and ".join(dict.fromkeys(machines))],
        ["versions", "; and ".join(dict.fromkeys(versions))],
        ["date", " to ".join(dict.fromkeys((dates[0], dates[-1])))],
    ]
    return table(["", "this report"], rows).replace("---:", "---")


def chapter_text(chapter: Chapter) -> str:
    """A part as a section of the report."""
    part, result, story = chapter.part, chapter.result, chapter.story
    lines = [f"## {part.title}", f"*{part.question}*", f"> {story.short}"]
    if result is None:
        return "\n\n".join([*lines, *([story.text] if chapter.failed else [])])
    lines.append(placed(story.text, part.name))
    if part.derivation:
        lines.append(folded("Derivation and explanation", derivation(part.derivation)))
    lines.append(f"<small>`{command_of(part, result)}`, {duration(result.seconds)}.</small>")
    return "\n\n".join(lines)


def derivation(name: str) -> str:
    """What stands in a file beside this one, with its headings two levels further down and without its title."""
    text = (PARTS_FOLDER / name).read_text().partition("\n")[2].strip()
    return re.sub(r"^(#+) ", r"\1## ", text, flags=re.MULTILINE)


def folded(summary: str, markdown: str) -> str:
    """Markdown that opens on a click."""
    return f"<details>\n<summary>{summary}</summary>\n\n{markdown}\n\n</details>"


def placed(markdown: str, folder: str) -> str:
    """The same with the pictures' names relative to the folder above."""
    return re.sub(r"^(!\[.*?\]\()", rf"\g<1>{folder}/", markdown, flags=re.MULTILINE | re.DOTALL)


def link(title: str) -> str:
    """A link to a section, by the name that GitHub's headings and ours have."""
    return f"[{title}](#{re.sub(r'[^a-z0-9 -]', '', title.lower()).replace(' ', '-')})"


def duration(seconds: float) -> str:
    """Seconds for a person."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def command_of(part: Part, result: Result) -> str:
    """The command that measures a part's results again, but for its folders."""
    fields = {field.name for field in dataclasses.fields(Settings)}
    known = {name: value for name, value in result.settings.items() if name in fields}
    settings = Settings(**{**(QUICK if known.get("quick") else FULL), **known})
    words = ["python -m experiments", part.name, settings.command_line()]
    for name, value in result.settings.items():
        if name not in fields and name != "fingerprint":
            flag = f"--{name.replace('_', '-')}"
            words += [f"{flag} {shlex.quote(str(one))}" for one in (value if isinstance(value, list) else [value])]
    return " ".join(filter(None, words))


def write_both(markdown: str, folder: Path, stem: str, title: str) -> None:
    """Write a report as Markdown and as HTML, each whole or not at all.

    Raises:
        JvaeError: a file cannot be written.
    """
    from jvae.files import write_file

    write_file(folder / f"{stem}.md", markdown.encode())
    write_file(folder / f"{stem}.html", to_html(markdown, title, folder).encode())


def write_page(part: Part, result: Result, folder: Path) -> None:
    """Write the page of one part alone, `NAME.md` and `NAME.html` in the folder above its own."""
    chapter = Chapter(part, result)
    text = chapter_text(chapter).replace("## ", "# ", 1)
    made = header(command_of(part, result), len_seeds(result), result.seconds, [chapter])
    write_both(f"{text}\n\n{made}\n", folder, part.page or part.name, part.title)


def len_seeds(result: Result) -> int:
    """How many seeds a part's results are of."""
    return int(result.values.get("runs") or result.settings.get("runs", 1))
