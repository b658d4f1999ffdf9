"""The seconds of training steps, of several variations in turn."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from experiments.reporting.lab import Lab

ROUNDS, STEPS = 5, 20


def check_steps(lab: "Lab") -> None:
    """Check, before anything is trained, that steps can be timed.

    Raises:
        JvaeError: an epoch has no second step.
    """
    from jvae.errors import JvaeError

    batch_size, images = lab.settings.batch_size, len(lab.data.train_images)
    if batch_size >= images:
        wrong = f"--batch-size is {batch_size}: must be less than the number of training images, {images}"
        raise JvaeError(f"{wrong}, for steps to be timed")


def steps_in_turn(lab: "Lab", variations: dict[str, dict[str, Any]]) -> dict[str, list[float]]:
    """Measure the seconds of a training step of each variation, round by round; no round compiles."""
    from jvae.tools.benchmark import compile_chunk, training_of

    data = lab.data.train_images
    chunks = {name: compile_chunk(training_of(lab.settings.config(**v), data)) for name, v in variations.items()}
    steps = min(STEPS, min(chunk.most for chunk in chunks.values()) - 1)
    lab.say(f"{ROUNDS} rounds of {steps} steps each, in turn")
    for chunk in chunks.values():
        chunk.take(1)
    rounds = [{name: chunk.step_seconds(steps) for name, chunk in chunks.items()} for _ in range(ROUNDS)]
    return {name: [each[name] for each in rounds] for name in chunks}
