"""Two-sample comparisons: a classifier's accuracy for latents, the Fréchet distance for images."""

import warnings
from typing import Any, NamedTuple

import numpy as np

FEATURES = 128


def classifier_accuracy(a: np.ndarray, b: np.ndarray) -> float:
    """Return how often boosted trees tell a held-out draw of a from one of b: 0.5 if they cannot, 1 if always.

    Args:
        a: draws [n, m]; a random half trains the classifier, the other half tests it.
        b: draws [n, m] of the other distribution.

    Source:
        Lopez-Paz & Oquab 2017, Revisiting classifier two-sample tests.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import train_test_split

    n = min(len(a), len(b))
    draws, which = np.concatenate([a[:n], b[:n]]), np.repeat([0, 1], n)
    train, test, known, asked = train_test_split(draws, which, test_size=0.5, stratify=which, random_state=0)
    return float(HistGradientBoostingClassifier(random_state=0).fit(train, known).score(test, asked))


class Features(NamedTuple):
    """Features of images: the hidden layer of a digit classifier."""

    weights: np.ndarray
    bias: np.ndarray
    accuracy: float
    """The classifier's accuracy on the test images."""

    def of(self, images: np.ndarray) -> np.ndarray:
        """Return features [n, 128] of images [n, h, w, c] with values in [0, 1]."""
        return np.maximum(images.reshape(len(images), -1) @ self.weights + self.bias, 0)


def learn_features(
    images: np.ndarray, labels: np.ndarray, test: np.ndarray, asked: np.ndarray, epochs: int
) -> Features:
    """Train a classifier with one hidden layer on images [n, h, w, c] with values in [0, 1]."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    model: Any = MLPClassifier((FEATURES,), batch_size=min(200, len(images)), max_iter=epochs, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # few epochs on purpose
        model.fit(images.reshape(len(images), -1), labels)
    accuracy = float(model.score(test.reshape(len(test), -1), asked))
    return Features(model.coefs_[0], model.intercepts_[0], accuracy)


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Return the Fréchet distance of Gaussians with the moments of two sets of features [n, k]; 0 for equal moments.

    Source:
        Heusel et al. 2017, GANs trained by a two time-scale update rule, section 3; there with another network's
        features, so that values cannot be compared across features.
    """
    a, b = a.astype(np.float64), b.astype(np.float64)
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    overlap = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ second @ root), 0)).sum()
    shift = np.sum((a.mean(axis=0) - b.mean(axis=0)) ** 2)
    return float(shift + np.trace(first) + np.trace(second) - 2 * overlap)
