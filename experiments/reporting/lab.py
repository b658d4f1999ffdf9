"""What the parts measure with: settings, data, and models that are trained once and shared."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.reporting.settings import Settings
from jvae.files import fitting_name, make_folder
from jvae.runs.fields import text_of

if TYPE_CHECKING:
    from jvae.data.dataset import Dataset
    from jvae.evaluation import Evaluation, ImportanceEvaluation
    from jvae.runs.checkpoint import TrainedModel
    from jvae.runs.config import Config


@dataclass(frozen=True)
class Lab:
    """Settings, data and models. Trained models lie in the folder, one file a seed, and are trained only once."""

    settings: Settings
    folder: Path
    say: Callable[[str], None] = lambda line: None
    """Called with a line of progress."""
    known: dict["Config", "Evaluation"] = field(default_factory=dict)
    """The evaluations of this session."""

    @cached_property
    def data(self) -> "Dataset":
        """The data set; options that do not fit it are a wrong command line."""
        from jvae.cli.options import usage_error
        from jvae.data.datasets import load_dataset

        own = {name: getattr(self.settings, name) for name in ("test_share", "resize", "transpose")}
        try:
            return load_dataset(self.settings.dataset, data_dir=self.settings.data_dir, **own)
        except ValueError as error:
            raise usage_error(error) from error

    def models(self, runs: int | None = None, **variation: Any) -> list["TrainedModel"]:
        """Return one variation's models of seeds 0, 1, ...; those that are missing are trained together.

        Args:
            runs: the number of seeds; by default the settings' number.
            variation: fields of `Config` that differ from the settings.
        """
        configs = [self.settings.config(**variation, seed=seed) for seed in range(runs or self.settings.runs)]
        models: list[TrainedModel] = []
        for i, config in enumerate(configs):
            model = self.load(config)
            if model is None:
                return models + self.train(replace(config, runs=len(configs) - i))
            models.append(model)
        return models

    def train(self, config: "Config") -> list["TrainedModel"]:
        """Train the runs of a configuration together, and save each as a single run."""
        from jvae.errors import JvaeError
        from jvae.runs import api
        from jvae.runs.checkpoint import save
        from jvae.runs.selection import select_run

        try:
            epochs = api.train_config_epochs(config, self.data)
        except ValueError as error:  # the settings do not fit the data
            raise JvaeError(str(error)) from error
        what = self.spoken(replace(config, seed=0, runs=1))
        for epoch, model in enumerate(epochs, start=1):  # noqa: B007  the last one is kept
            self.say(f"{what}: epoch {epoch}/{config.epochs} of {config.runs} runs")
        models = [select_run(model, i) for i in range(config.runs)]
        for one in models:
            path = self.path(config_of(one))
            make_folder(path.parent)
            save(path, one)
        return models

    def load(self, config: "Config") -> "TrainedModel | None":
        """Return a configuration's model if the folder holds it for the same data, versions and kind of device."""
        from jvae.errors import ModelFileError
        from jvae.runs.checkpoint import current_versions, load

        if not self.path(config).exists():
            return None
        try:
            model = load(self.path(config))
        except ModelFileError:
            return None
        here = (config, self.data.fingerprint, current_versions())
        return model if (model.config, model.fingerprint, model.versions) == here else None

    def spoken(self, config: "Config") -> str:
        """Return what differs between a configuration and the settings, for a line of progress."""
        return name_of(config, self.settings) or "the exercise's model"

    def path(self, config: "Config") -> Path:
        """Return a model's path: its name holds all fields that differ from the defaults of `jvae train`."""
        import jax

        name = fitting_name(name_of(config).replace("/", "-") or "default")
        return self.folder / "models" / jax.default_backend() / f"{name}.npz"

    def evaluations(self, models: Sequence["TrainedModel"]) -> list["Evaluation"]:
        """Evaluate every model's test-set ELBO and its terms, 10 draws per image; only the models' seeds may differ."""
        import jax

        from jvae.evaluation import evaluate

        key, images = jax.random.key(0), self.data.test_images
        for i, model in enumerate(models):
            config, recipe = config_of(model), model.recipe
            if config not in self.known:
                self.say(f"{self.spoken(config)}: test-set ELBO of run {i + 1}/{len(models)}")
                self.known[config] = evaluate(recipe.model, model.run_params(), key, images, recipe.transform)[0]
        return [self.known[config_of(model)] for model in models]

    def importance(
        self, models: Sequence["TrainedModel"], num_samples: int, images: int
    ) -> list["ImportanceEvaluation"]:
        """Evaluate the importance-weighted bound of the first test images; only the models' seeds may differ."""
        import jax

        from jvae.runs.importance import evaluate_iwae

        key, few, found = jax.random.key(0), self.data.test_images[:images], []
        vae, transform = models[0].recipe.model, models[0].recipe.transform
        for i, model in enumerate(models):
            self.say(f"{self.spoken(config_of(models[0]))}: IWAE-{num_samples} of run {i + 1}/{len(models)}")
            found.extend(evaluate_iwae(vae, model.run_params(), key, few, transform, num_samples))
        return found


def config_of(model: "TrainedModel") -> "Config":
    """Return the configuration of a model that was made from one."""
    assert model.config is not None
    return model.config


def name_of(config: "Config", settings: Settings | None = None) -> str:
    """Return a configuration's fields that differ from the default or from the settings, such as `prior=mog,seed=1`."""
    usual = (type(config)() if settings is None else settings.config()).to_dict()
    return ",".join(
        f"{name.replace('_', '-')}={text_of(value, 'x')}"
        for name, value in config.to_dict().items()
        if value != usual[name]
    )
