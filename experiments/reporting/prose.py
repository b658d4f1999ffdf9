"""The text of a part: Markdown in `templates/NAME.md` beside its module, with {fields} for computed values."""

import re
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from string import Formatter
from typing import Any


class Prose:
    """A template's sections: the text under each line `<!-- NAME -->`, with fields as in `str.format`."""

    def __init__(self, module_file: str) -> None:
        self.path = Path(module_file).parent / "templates" / Path(module_file).with_suffix(".md").name

    @cached_property
    def sections(self) -> dict[str, str]:
        """The sections by name, unfilled."""
        pieces = re.split(r"^<!-- (.+) -->\n", self.path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        return {name: text.strip() for name, text in zip(pieces[1::2], pieces[2::2], strict=True)}

    def __call__(self, section: str, **values: Any) -> str:
        """Return a section with its fields filled.

        Raises:
            KeyError: there is no such section, a field has no value, or a value has no field.
        """
        text = self.sections[section]
        fields = {re.split(r"[.[]", name)[0] for _, name, _, _ in Formatter().parse(text) if name is not None}
        if wrong := fields ^ values.keys():
            raise KeyError(f"{self.path.name}, {section}: fields and values differ in {', '.join(sorted(wrong))}")
        return text.format(**values)

    def each(self, section: str, rows: Iterable[Any], between: str = "\n") -> str:
        """Return a section filled once for every row, as its field `row`, joined."""
        return between.join(self(section, row=row) for row in rows)
