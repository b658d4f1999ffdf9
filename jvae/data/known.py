"""The known sets: their names, where their four IDX files are published, and the files' shapes and sha256.

The sha256 are of the uncompressed files. MNIST's are published. Fashion-MNIST's and KMNIST's were computed from .gz
files with the sha256 that tensorflow-datasets publishes. KMNIST's training images are the exception: only the sha256 of
their .gz is known, so that a gzipped file is checked by it, and an uncompressed one by its shape alone.
"""

from difflib import get_close_matches
from numbers import Real
from pathlib import PurePath
from typing import NamedTuple

from jvae.errors import shown

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
SIZE = 28
NUM_CLASSES = 10
UNKNOWN = (None,) * len(FILES)


class KnownSet(NamedTuple):
    """A set of four IDX files; the tuples are in the order of `FILES`."""

    name: str
    """The name to load it by."""
    url: str
    """The address of the folder that holds the four files, gzipped."""
    folder: str
    """The name of torchvision's folder for it."""
    num_train: int = 60_000
    """The number of training images."""
    num_test: int = 10_000
    """The number of test images."""
    sha256: tuple[str | None, ...] = UNKNOWN
    """The sha256, in hex, of the uncompressed files, where they are known."""
    gz_sha256: tuple[str | None, ...] = UNKNOWN
    """The sha256, in hex, of the gzipped files, where `sha256` is None."""

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shapes of the four arrays: images [n, 28, 28] and labels [n] for training, then for testing."""
        n, m = self.num_train, self.num_test
        return (n, SIZE, SIZE), (n,), (m, SIZE, SIZE), (m,)


KNOWN_SETS = {
    known.name: known
    for known in (
        KnownSet(
            "mnist",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
            "MNIST",
            sha256=(
                "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
                "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
                "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
                "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
            ),
        ),
        KnownSet(
            "fashion_mnist",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "FashionMNIST",
            sha256=(
                "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
                "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
                "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
                "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
            ),
        ),
        KnownSet(
            "kmnist",
            "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
            "KMNIST",
            sha256=(
                None,
                "2a16eeae62da984b8bd24fa32e31d47291f01dac3fe84d5594f304f71e7d374b",
                "76fbd229ce87db80dd281af5e6670de4ad0e42fb30a7bd643972994c47c1f42e",
                "a11dc742be8e781a40a92f53d6a4957e7b7d36df2faa097659131ebfd8fd60c6",
            ),
            gz_sha256=("51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4", None, None, None),
        ),
    )
}

DATASETS = (*KNOWN_SETS, "digits")
OWN_KINDS = ("npz", "npy", "folder", "idx")
"""The sources of a user's own images: `npz:FILE`, `npy:FILE`, `folder:DIR`, `idx:DIR`."""


def split_source(name: str) -> tuple[str, str]:
    """Return a source's kind and path or name, such as (`npz`, `FILE`), or (name, "") for a known set.

    Raises:
        ValueError: there is no such source.
    """
    kind, _, place = name.partition(":")
    if name in DATASETS or (kind in (*OWN_KINDS, "tfds") and place):
        return kind, place
    kinds = "npz:FILE, npy:FILE, folder:DIR, idx:DIR or tfds:NAME"
    suffix = PurePath(name).suffix[1:].lower()
    near = [f"{suffix}:{name}"] if suffix in ("npz", "npy") else get_close_matches(name.lower(), DATASETS, 1)
    meant = f"; did you mean {near[0]}?" if near else ""
    raise ValueError(f"dataset is {name!r}: must be one of {', '.join(DATASETS)}, or {kinds}{meant}")


def split_size(text: str) -> tuple[int, int] | None:
    """Return the height and width in `HxW`; None for an empty text.

    Raises:
        ValueError: the text has another form, or a size is out of range.
    """
    if not text:
        return None
    height, _, width = text.partition("x")
    if not (height.isdecimal() and width.isdecimal() and 0 < int(height) <= 2**12 and 0 < int(width) <= 2**12):
        raise ValueError(f"resize is {text!r}: must be HxW, such as 32x32, each from 1 to {2**12}")
    return int(height), int(width)


def check_options(kind: str, test_share: float, resize: str, transpose: bool) -> None:
    """Raise a ValueError that names an option that does not apply to a kind of source, or is out of range."""
    if not isinstance(test_share, Real):
        raise ValueError(f"test_share is {shown(test_share)}: must be a number")
    if test_share and kind not in ("npz", "npy", "folder"):
        raise ValueError(f"test_share is {test_share:g}: {kind} has a test set of its own")
    if not 0 <= test_share <= 0.9:
        raise ValueError(f"test_share is {test_share:g}: must be at least 0 and at most 0.9")
    if split_size(resize) and kind != "folder":
        raise ValueError(f"resize is {resize}: applies only with folder:DIR")
    if transpose and kind != "idx":
        raise ValueError("transpose is True: applies only with idx:DIR")
