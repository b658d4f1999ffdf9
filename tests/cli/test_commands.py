"""How a command line is read: help, unknown words, options given twice, a file in place of a command."""

import itertools
import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from helpers import jvae, refused

from experiments.__main__ import experiments
from jvae.cli.help import group_of, is_hidden
from jvae.cli.main import main
from jvae.cli.near import near_options
from jvae.cli.path_types import OutputFile
from jvae.runs.config import config_fields
from jvae.runs.fields import DATA_FIELDS


def all_commands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return the words of every command and group."""
    found = [path]
    for name, command in group.commands.items():
        found += all_commands(command, (*path, name)) if isinstance(command, click.Group) else [(*path, name)]
    return found


@pytest.mark.parametrize("program", [main, experiments], ids=["jvae", "experiments"])
def test_help_is_asked_for_by_two_names(program):
    for words in all_commands(program):
        short, long = (CliRunner().invoke(program, [*words, name]) for name in ("-h", "--help"))
        assert (short.exit_code, short.stdout, short.stderr) == (0, long.stdout, "")


@pytest.mark.parametrize("words", [[], ["plot"]], ids=" ".join)
def test_no_word_at_all_gets_the_help_on_stderr(words):
    result = jvae(*words, code=2)
    assert (result.stdout, result.stderr) == ("", jvae(*words, "--help").stdout)


NEAR = [
    ("--lr", "--learning-rate"),
    ("-lr", "--learning-rate"),
    ("--bs", "--batch-size"),
    ("--latent", "--latent-dim"),
    ("--z-dim", "--latent-dim"),
    ("--num-epochs", "--epochs"),
    ("--epoch", "--epochs"),
    ("--batch_size", "--batch-size"),
    ("--gpu", "--device"),
    ("--force", "--overwrite"),
    ("--learning_rate=1", "--learning-rate"),
]


@pytest.mark.parametrize(("word", "meant"), NEAR)
def test_an_unknown_option_gets_a_suggestion(word, meant):
    assert refused("train", word, "1", code=2).endswith(f"Did you mean {meant}?")


@pytest.mark.parametrize("word", ["--qqqq", "--", "-", "--é", "--" + "x" * 5000])
def test_nothing_is_suggested_for_what_resembles_nothing(word):
    assert near_options(word, ["--help", "--model", "--epochs"]) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trian"], "Did you mean train?"),
        (["plot", "posteriors"], "Did you mean posterior"),
        (["m.npz"], "encode --model m.npz"),
        (["plot", "m.npz"], "--model m.npz"),
        (["--model", "m.npz"], "--model"),
        (["plot", "--model", "m.npz"], "It is an option of posterior"),
        (["datasets", "--data-dir", ".", "fetch", "digits"], "after that word"),
    ],
    ids=str,
)
def test_a_word_in_the_wrong_place_is_explained(words, said):
    assert said in refused(*words, code=2)


@pytest.mark.parametrize(
    "words",
    [
        ["train", "--model", "a", "--model", "b"],
        ["train", "--resume", "--resume"],
        ["train", "--stream", "--no-stream"],
        ["sweep", "--grid", "seed=1", "--grid", "latent-dim=2", "--output", "a", "--output", "b"],
        ["datasets", "--data-dir", ".", "--data-dir", ".."],
        ["evaluate", "--config", "a.toml", "--config", "b.toml"],
    ],
    ids=" ".join,
)
def test_an_option_is_given_once(words):
    assert "given twice" in refused(*words, code=2)


def test_a_line_break_in_a_name_stays_in_the_line(tmp_path):
    assert r"a\nb" in refused("evaluate", "--model", tmp_path / "a\nb", code=2)


def leaves(program: click.Group) -> list[tuple[tuple[str, ...], click.Command]]:
    """Return every command and group below a program, with its words."""
    found = []
    for words in all_commands(program):
        command: click.Command = program
        for word in words:
            command = command.commands[word]
        found.append((words, command))
    return found[1:]


@pytest.mark.parametrize(("program", "name"), [(main, "jvae"), (experiments, "python -m experiments")])
def test_every_help_has_two_examples_that_can_be_typed(program, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for file in ("model.npz", "mog.npz", "model.pt", "gaussian.pt", "mine.npz"):
        Path(file).touch()
    Path("pictures").mkdir()
    examples = {" ".join(words): command.examples for words, command in leaves(program)}
    assert {words for words, lines in examples.items() if len(lines) != 2} == set()
    for line in [*program.first, *itertools.chain(*examples.values())]:
        given = shlex.split(line.removeprefix(name))
        command, context = program, None
        while isinstance(command, click.Group) and given:
            context = command.make_context(name, given[:1], parent=context, resilient_parsing=True)
            command, given = command.commands[given[0]], given[1:]
        command.make_context(line, given, parent=context)


GROUPS = [
    (main, ()),
    (experiments, ()),
    *((main, w) for w, command in leaves(main) if isinstance(command, click.Group)),
]


def test_what_people_do_first_are_six_things():
    assert len(main.first) == 6


@pytest.mark.parametrize("program", [main, experiments], ids=["jvae", "experiments"])
def test_every_option_is_in_a_group_of_its_kind(program):
    """A command's own options excepted. Outputs are in the group output, sources of images in data."""
    fields = {field.name for field in config_fields()} - {"seed", "num_samples"}
    for _, command in leaves(program):
        for option in (option for option in command.params if isinstance(option, click.Option)):
            group = group_of(option, command)
            if isinstance(option.type, OutputFile):
                assert group == "Output"
            if option.name in fields and not option.hidden:
                assert group in ("Data", "Model", "Training")
    train = main.commands["train"]
    kinds = {option.name: group_of(option, train) for option in train.params if not option.hidden}
    assert (kinds["prior"], kinds["seed"]) == ("Model", "Training")
    assert (kinds["device"], kinds["config"]) == ("Devices", "General")
    assert "Options" not in kinds.values()


def test_an_option_that_a_command_does_not_read_is_accepted_but_not_shown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("model.npz").touch()
    words = ["--dataset", "npy:x.npy", "--test-share", ".1", "--resize", "", "--no-transpose", "--data-dir", ".",
             "--seed", "1", "--run", "0", "--latent-dim", "2"]  # fmt: skip
    commands, data = dict(leaves(main)), {*DATA_FIELDS, "data_dir"}
    unread = {
        ("sample",): data,
        ("plot", "history"): data | {"seed", "run"},
        ("plot", "pseudo-inputs"): data | {"seed"},
        ("plot", "scale"): data | {"seed"},
        ("plot", "posterior"): set(),
        ("evaluate",): set(),
        ("encode",): set(),
        ("explore",): set(),
    }
    for name, hidden in unread.items():
        given = words[:-4] + words[-2:] if name == ("evaluate",) else words
        assert commands[name].make_context(name[-1], list(given)).params["latent_dim"] == 2
        there = {option.name: is_hidden(option) for option in commands[name].params}
        assert {option for option in (*data, "seed", "run") if there.get(option)} == hidden
    steps = {option.name: is_hidden(option) for option in commands["benchmark",].params}
    assert (steps["patience"], steps["validation"], steps["warmup"]) == (True, True, False)


def test_the_shell_completes_commands_and_choices():
    from click.shell_completion import ShellComplete

    def completed(*words: str) -> list[str]:
        shell = ShellComplete(main, {}, "jvae", "_JVAE_COMPLETE")
        return [item.value for item in shell.get_completions(list(words[:-1]), words[-1])]

    assert completed("tr") == ["train"]
    assert completed("plot", "post") == ["posterior"]
    assert completed("train", "--prior", "f") == ["flow"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["evaluate"], "`jvae train --model model.npz` writes it"),
        (["info", "vamp.npz"], "`jvae train --model vamp.npz` writes it"),
        (["evaluate", "--model", "moj.npz"], "did you mean mog.npz?"),
        (["train", "--recipe", "my_priors.py"], "did you mean my_prior.py?"),
        (["train", "--dataset", "fashion-mnist"], "did you mean fashion_mnist?"),
        (["train", "--dataset", "mog.npz"], "did you mean npz:mog.npz?"),
        (["train", "--prior", "VampPrior"], "Did you mean vamp?"),
        (["train", "--prior", "mixture"], "Did you mean mog?"),
        (["sweep", "--grid", "prior=gaussian,mixture"], "vamp, flow. Did you mean mog?"),
        (["sweep", "--grid", "seed=0,1", "--grid", "z-dim=2"], "Did you mean latent-dim?"),
        (["sweep", "--grid", "latent-dim=2,3", "--latent-dim", "4"], "--latent-dim is 4: is in --grid too"),
        (["sweep", "--grid", "latent-dim=x"], "--grid is 'latent-dim=x': latent-dim is 'x': must be a whole number"),
        (["sweep", "--grid", "latent-dim"], "--grid is 'latent-dim': must be NAME=VALUE"),
        (["train", "--device", "cuda:0"], "Did you mean gpu?"),
        (["train", "--device", "GPU"], "Did you mean gpu?"),
        (["train", "--device", "tpux"], "Did you mean tpu?"),
        (["train", "--device", "mps"], "Did you mean auto?"),
        (["encode", "--split", "tset"], "Did you mean test?"),
        (["train", "--estimator", "dreg"], "--estimator is dreg: applies only with --bound iwae, not elbo"),
        (["datasets", "check", "digits", "--resize", "3x3"], "--resize is 3x3: applies only with folder:DIR"),
        (["datasets", "check", "digitz"], "error: dataset is 'digitz': must be one of"),
        (["train", "--output", "m.npz"], "Did you mean --model or --json or --log?"),
        (["sample", "--out", "s.png"], "Did you mean --samples?"),
        (["evaluate", "-o", "e.json"], "Did you mean --json?"),
        (["plot", "prior", "--save", "p.png"], "Did you mean --output?"),
        (["train", "--network", "conv"], "Did you mean cnn?"),
        (["train", "--prior", "laplace"], "For one of your own, see --recipe."),
        (["train", "--model", "no/m.npz"], "make it with mkdir -p"),
        (["sample", "--n", "64"], "Did you mean --num-images"),
        (["sweep"], "For instance: jvae sweep --grid"),
        (["datasets", "fetch"], "For instance: jvae datasets fetch mnist"),
    ],
    ids=str,
)
def test_an_error_says_what_to_type_next(words, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("mog.npz", "my_prior.py"):
        Path(name).touch()
    assert said in refused(*words, code=2)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["k1"], "Did you mean kl?"),
        (["al"], "Did you mean all?"),
        (["zz"], "must be one of all, baseline"),
        (["all", "--only", "klx"], "Did you mean kl?"),
        (["mirror", "--prior", "normal"], "Did you mean gaussian?"),
        (["mirror", "--prior", "zz"], "'zz' is not one of 'gaussian', 'mog'."),
    ],
    ids=str,
)
def test_an_experiments_error_says_it_too(words, said):
    result = CliRunner().invoke(experiments, words)
    assert result.exit_code == 2
    assert result.stderr.strip().endswith(said) or f"{said}, " in result.stderr


@pytest.mark.parametrize(("program", "words"), GROUPS, ids=str)
def test_the_help_of_a_group_describes_each_command_whole_in_80_columns(program, words):
    text = CliRunner().invoke(program, [*words, "--help"], env={"COLUMNS": "80"}).stdout
    lines = text.partition("Commands:\n")[2].partition("\n\n")[0].splitlines()
    group = program
    for word in words:
        group = group.commands[word]
    assert [line.split()[0] for line in lines] == sorted(group.commands)
    assert [line for line in lines if line.endswith("...") or len(line) > 80] == []


def test_what_a_grid_cannot_vary_is_not_suggested_for_it():
    assert refused("sweep", "--grid", "dataste=mnist", code=2).endswith("transpose, binarise, runs")
