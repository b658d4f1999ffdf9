"""The report: the parts' stories, joined as Markdown and as one self-contained page of HTML."""

import dataclasses
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments.reporting.comparison import table
from experiments.reporting.findings import Findings
from experiments.reporting.machine import about
from experiments.reporting.page import to_html
from experiments.reporting.part import Part, Story
from experiments.reporting.settings import FULL, QUICK, Settings
from jvae.cli.options import flag

HERE = Path(__file__).parent


def story_of(part: Part, found: Findings) -> Story:
    """Return a part's results in words, or why there are none."""
    if found.failed:
        error = f"`{found.failed.replace('`', '')}`"
        return Story(f"**Failed**: {error}", f"This part failed: {error}", sound=False)
    if found.skipped:
        return Story(f"Skipped: {found.skipped}", f"This part was skipped: {found.skipped}")
    return part.tell(found.values)


def report_text(findings: Mapping[Part, Findings], command: str) -> str:
    """Return the whole report as Markdown."""
    stories = {part: story_of(part, found) for part, found in findings.items()}
    wrong = [part.title for part, story in stories.items() if not story.sound]
    lines = [
        "# The exercise sheet, answered by measurement",
        page("about.md"),
        *([f"> **Not everything is as it must be**: {'; '.join(wrong)}."] if wrong else []),
        "## The answers in short",
        table(["exercise", "answer"], [[link(p.title), s.short] for p, s in stories.items()]).replace("---:", "---"),
        *[chapter(part, found) for part, found in findings.items()],
        page("glossary.md"),
        "## This report",
        header(command, list(findings.values())),
    ]
    return "\n\n".join(lines) + "\n"


def page(name: str) -> str:
    """Return the text of a file beside this module."""
    return (HERE / name).read_text(encoding="utf-8").strip()


def header(command: str, findings: Sequence[Findings]) -> str:
    """Return a table of how the report was made: command, seeds, time, and every machine, version, commit and date."""
    done = [found for found in findings if found.about]
    sources = [found.about for found in done] or [about()]
    versions = [", ".join(f"{name} {number}" for name, number in s["versions"].items()) for s in sources]
    machines = [f"{s['machine']}; jax on {s['devices']}" for s in sources]
    commits = [s.get("commit") or "unknown" for s in sources]
    dates = sorted(s["date"] for s in sources)
    seconds = sum(found.seconds for found in done)
    runs = [runs for f in done if (runs := f.values.get("runs") or f.settings.get("runs"))]
    seeds = max(runs, key=runs.count, default=0)
    rows = [
        ["command", f"`{command}`"],
        *([["seeds", f"0 to {seeds - 1}" if seeds > 1 else "0"]] if seeds else []),
        ["time", f"{duration(seconds)} for {len(done)} part{'s' * (len(done) != 1)}"],
        ["machine", "; and ".join(dict.fromkeys(machines))],
        ["versions", "; and ".join(dict.fromkeys(versions))],
        ["commit", ", ".join(dict.fromkeys(commits))],
        ["date", " to ".join(dict.fromkeys((dates[0], dates[-1])))],
    ]
    return table(["", "this report"], rows).replace("---:", "---")


def chapter(part: Part, found: Findings) -> str:
    """Return a part as a section of the report."""
    story = story_of(part, found)
    lines = [f"## {part.title}", f"*{part.question}*", f"> {story.short}"]
    if found.failed or found.skipped:
        return "\n\n".join([*lines, *([story.text] if found.failed else [])])
    opening, _, rest = placed(story.text, part.name).partition("\n---\n")
    lines.append(opening.strip())
    if rest:
        lines.append(folded("Everything measured, and how", rest.strip()))
    if part.derivation:
        lines.append(folded("Derivation and explanation", derivation(part.derivation)))
    where = f" on {found.about['machine']}, at commit {found.about.get('commit') or 'unknown'}" if found.about else ""
    lines.append(f"<small>`{command_line(part, found)}`, {duration(found.seconds)}{where}.</small>")
    return "\n\n".join(lines)


def derivation(name: str) -> str:
    """Return the text of a file beside the parts, without its title, its headings two levels deeper."""
    text = (HERE.parent / "parts" / name).read_text(encoding="utf-8").partition("\n")[2].strip()
    return re.sub(r"^(#+) ", r"\1## ", text, flags=re.MULTILINE)


def folded(summary: str, markdown: str) -> str:
    """Return Markdown folded under a summary, which opens on a click."""
    return f"<details>\n<summary>{summary}</summary>\n\n{markdown}\n\n</details>"


def placed(markdown: str, folder: str) -> str:
    """Return Markdown with the pictures' names relative to the folder above."""
    return re.sub(r"^(!\[.*?\]\()", rf"\g<1>{folder}/", markdown, flags=re.MULTILINE | re.DOTALL)


def link(title: str) -> str:
    """Return a link to a section, by the anchor that both GitHub and our page give its heading."""
    return f"[{title}](#{re.sub(r'[^a-z0-9 -]', '', title.lower()).replace(' ', '-')})"


def duration(seconds: float) -> str:
    """Return seconds for a person, such as `85 s` or `2 h 05 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def command_line(part: Part, found: Findings) -> str:
    """Return the command that measures a part's results again, without its folders."""
    fields = {field.name for field in dataclasses.fields(Settings)}
    own = {name: value for name, value in found.settings.items() if name not in fields | {"fingerprint", "beside"}}
    words = ["python -m experiments", part.name, settings_told([found]).command_line()]
    for name, value in own.items():
        each = value if isinstance(value, list) else [value]
        if all(type(one) is int for one in each):
            each = [",".join(map(str, each))]  # as the option takes them
        for one in each:
            words.append(flag(name) if one is True else f"{flag(name)} {shlex.quote(str(one))}")
    return " ".join(filter(None, words))


def settings_told(findings: Sequence[Findings]) -> Settings:
    """Return the settings that most of the results have."""
    fields = [field.name for field in dataclasses.fields(Settings)]
    known = {name: [f.settings[name] for f in findings if name in f.settings] for name in fields}
    usual = {name: max(values, key=values.count) for name, values in known.items() if values}
    return Settings(**{**(QUICK if usual.get("quick") else FULL), **usual})


def write_both(markdown: str, folder: Path, stem: str, title: str) -> None:
    """Write a report as Markdown and as HTML, each whole or not at all.

    Raises:
        JvaeError: a file cannot be written.
    """
    from jvae.files import write_file

    write_file(folder / f"{stem}.md", markdown.encode())
    write_file(folder / f"{stem}.html", to_html(markdown, title, folder).encode())


def write_page(part: Part, found: Findings, folder: Path) -> None:
    """Write the page of one part alone, `NAME.md` and `NAME.html` in the folder above its own."""
    text = chapter(part, found).replace("## ", "# ", 1)
    made = header(command_line(part, found), [found])
    write_both(f"{text}\n\n{page('glossary.md')}\n\n{made}\n", folder, part.page or part.name, part.title)
