"""Recipe files: a user's Python file that defines what is trained, and its record in a model file.

The file defines `recipe(config, data_shape, steps_per_epoch) -> Recipe`. A model file keeps its text, which is never
executed: to read the model, the user names the file again.
"""

import hashlib
import inspect
import sys
import traceback
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

from jvae.errors import JvaeError, first_line
from jvae.runs.config import Config, RecipeConfig
from jvae.runs.fields import DATA_FIELDS, text_of
from jvae.runs.plan import Plan

if TYPE_CHECKING:
    from jvae.recipe import Recipe

MakeRecipe = Callable[[Config, tuple[int, ...], int], "Recipe"]
"""`(config, data_shape, steps_per_epoch) -> recipe`; the shape is of one datum."""
SIGNATURE = "recipe(config, data_shape, steps_per_epoch)"
READ_BY_PLAN = (*DATA_FIELDS, "runs", "seed", *(name for name in Plan._fields if name != "seeds"))
"""The Config fields that say on what and for how long to train; the others define what is trained."""


class RecipeFile(NamedTuple):
    """The record of a recipe file."""

    name: str
    """The file's name, without its folder."""
    text: str
    """The file's text, which is kept and never executed."""

    @property
    def sha256(self) -> str:
        """The sha256 of the text, in hex."""
        return hashlib.sha256(self.text.encode()).hexdigest()


class OwnRecipe(NamedTuple):
    """An executed recipe file: its record, and the function that it defines."""

    file: RecipeFile
    """The file's record."""
    make: MakeRecipe
    """The function; it raises a JvaeError of one line if the file's own fails, or returns no recipe."""


def load_recipe_file(path: Path) -> OwnRecipe:
    """Execute a recipe file, and return the function it defines. It can import modules beside it.

    Raises:
        JvaeError: the file cannot be read or executed; the message is one line with the file's name and line number.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise JvaeError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    module = ModuleType(f"recipe_file_{path.stem}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses look their module up there
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    with errors_of(path):
        exec(compile(text, str(path), "exec"), module.__dict__)
    make = getattr(module, "recipe", None)
    if not callable(make):
        raise JvaeError(f"{path}: defines no function {SIGNATURE}")
    with errors_of(path):
        signature = inspect.signature(make)
    try:
        signature.bind(Config(), (), 1)
    except TypeError as error:
        raise JvaeError(f"{path}: defines recipe{signature}: must be {SIGNATURE}") from error

    def make_checked(config: Config, data_shape: tuple[int, ...], steps_per_epoch: int) -> "Recipe":
        from jvae.recipe import Recipe

        with errors_of(path):
            found = make(config, data_shape, steps_per_epoch)
        if not isinstance(found, Recipe):
            raise JvaeError(f"{path}: {SIGNATURE} returned {type(found).__name__}: must be a jvae.Recipe")
        return found

    return OwnRecipe(RecipeFile(path.name, text), make_checked)


def fields_read(own: OwnRecipe, config: Config, data_shape: tuple[int, ...], steps_per_epoch: int) -> set[str]:
    """Return the names of the configuration's fields that a recipe file reads.

    Raises:
        JvaeError: the file's function fails, or returns no recipe.
    """
    read, fields = set[str](), config.to_dict()
    own.make(watched(config, read), data_shape, steps_per_epoch)
    return set(fields) if "__dict__" in read else read & fields.keys()  # vars(config) reads all


def watched(config: Config, read: set[str]) -> Config:
    """Return a configuration that adds what is read of it to a set, and so do its changed copies.

    `dataclasses.replace` reads all fields, and makes a copy of them: what it reads is not counted.
    """
    before = set[str]()

    class WatchedConfig(RecipeConfig):
        def __getattribute__(self, name: str) -> object:
            if name == "__dataclass_fields__":  # a copy may begin
                before.update(read)
            read.add(name)
            return super().__getattribute__(name)

        def __post_init__(self) -> None:
            before.update(() if "__dataclass_fields__" in read else read)
            super().__post_init__()
            read.intersection_update(before)

    WatchedConfig.__name__ = Config.__name__  # for error messages, when a file reads a field that does not exist
    return WatchedConfig(**config.to_dict())


def check_read(own: OwnRecipe, config: Config, read: Container[str], given: Iterable[str]) -> None:
    """Raise a ValueError that names the first of the given fields that neither the plan nor the recipe file reads."""
    for name in given:
        if name not in READ_BY_PLAN and name not in read:
            value = text_of(getattr(config, name))
            raise ValueError(f"{name} is {value}: {own.file.name} does not read config.{name}")


@contextmanager
def errors_of(path: Path, passing: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Turn an error in a recipe file, or in a module beside it, into a JvaeError of one line with file and line number.

    If the traceback passes through none of them, the message names the file alone, unless the machine failed, such as a
    closed pipe or a full memory. Such an error, a JvaeError, and the types `passing` are left unchanged.

    Raises:
        JvaeError: the block raised an error, SystemExit included.
    """
    try:
        yield
    except JvaeError:
        raise
    except SyntaxError as error:
        where = f"{error.filename or path}, line {error.lineno}" if error.lineno else str(path)
        raise JvaeError(f"{where}: {error.msg}") from error
    except (Exception, SystemExit) as error:
        place = blame(error, path)
        if isinstance(error, passing) or (place is None and is_of_the_machine(error)):
            raise
        raise JvaeError(f"{place or path}: {type(error).__name__}: {first_line(error)}") from error


def blame(error: BaseException, path: Path) -> str | None:
    """Return the file and line of a recipe file, or of a module beside it, that an error came from, or None."""
    folder = path.resolve().parent
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if is_in(frame.filename, folder)]
    return f"{frames[-1].filename}, line {frames[-1].lineno}" if frames else None


def is_of_the_machine(error: BaseException) -> bool:
    """Return True for what no recipe's text decides: files, pipes, memory, devices, and JAX's search for NaN."""
    of_jax = "jax" in sys.modules and isinstance(error, sys.modules["jax"].errors.JaxRuntimeError)
    return of_jax or isinstance(error, (OSError, MemoryError, FloatingPointError))


def is_in(filename: str, folder: Path) -> bool:
    """Return True if a file lies directly in a folder."""
    return filename[:1] != "<" and Path(filename).resolve().parent == folder
