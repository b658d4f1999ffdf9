"""The known sets: their names, where their four IDX files are published, and what these must hold."""

from typing import NamedTuple

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
SIZE = 28
NUM_CLASSES = 10
UNKNOWN = (None,) * len(FILES)


class KnownSet(NamedTuple):
    """A set of four IDX files; the tuples are in the order of `FILES`."""

    name: str
    url: str  # of the folder that holds the four files, gzipped
    folder: str  # torchvision's folder for it
    num_train: int = 60_000
    num_test: int = 10_000
    sha256: tuple[str | None, ...] = UNKNOWN  # in hex, of the files uncompressed

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
        ),
        KnownSet(
            "kmnist",
            "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
            "KMNIST",
        ),
    )
}

DATASETS = (*KNOWN_SETS, "digits")
