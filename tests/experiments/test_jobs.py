"""The job scripts, run by bash with stand-ins for the cluster's commands and for jvae."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

JOBS = Path(__file__).parents[2] / "experiments" / "jobs"
SCRIPTS = sorted(JOBS.glob("*.sh"))
STUBS = {
    # records its arguments; the training ends after `needs` calls, and before that waits for a signal
    "jvae": """
echo "$*" >> calls
[ "$1" = train ] || exit 0
n=$(grep -c "^train.*$(grep -o 'process-id [0-9]' <<< "$*")" calls)
[ "$n" -gt "$(cat needs)" ] && exit 0
trap 'exit 138' USR1; trap 'sleep 0.2; exit 140' USR2; trap 'exit 143' TERM
touch "waits-$BASHPID"; while true; do sleep 0.05; done
""",
    "srun": 'exec "$@"',
    "scontrol": 'echo "$*" >> requeued',
    "blaunch": 'shift 2; exec "$@"',
}


@pytest.fixture
def cluster(tmp_path):
    """Make a folder to submit from."""
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "activate").write_text(f"PATH={programs}:$PATH\n")
    for name, text in STUBS.items():
        (programs / name).write_text(f"#!/bin/bash\n{text}\n")
        (programs / name).chmod(0o755)
    (tmp_path / "hosts").write_text("a\nb\n")
    return tmp_path


def run(script, folder, needs, number=None, to_script=False) -> int:
    """Return a script's exit code; a signal goes to its waiting trainings, or to all its processes as LSF sends it."""
    (folder / "needs").write_text(str(needs))
    names = {"SLURM_JOB_ID": "7", "LSB_DJOB_HOSTFILE": str(folder / "hosts")}
    job = subprocess.Popen(["bash", str(script)], cwd=folder, env=os.environ | names, start_new_session=True)
    if number is not None:
        while len(list(folder.glob("waits-*"))) < (2 if script.stem == "lsf-hosts" else 1):
            assert job.poll() is None
            time.sleep(0.02)
        if to_script:
            os.killpg(job.pid, number)
        for waiting in [] if to_script else folder.glob("waits-*"):
            os.kill(int(waiting.name.removeprefix("waits-")), number)
    code = job.wait(timeout=30)
    for waiting in folder.glob("waits-*"):
        waiting.unlink()
    return code


def trainings(folder) -> list[str]:
    return sorted(line for line in (folder / "calls").read_text().splitlines() if line.startswith("train"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_bash_can_read_a_script(script):
    subprocess.run(["bash", "-n", str(script)], check=True)
    assert "--resume" in script.read_text()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_job_that_is_not_stopped_ends_well(script, cluster):
    assert run(script, cluster, needs=0) == 0
    assert not (cluster / "requeued").exists()


def test_slurm_stops_the_training_in_time_and_queues_it_again(cluster):
    script = JOBS / "slurm.sh"
    (name, seconds) = re.findall(r"^#SBATCH --signal=(\w+)@(\d+)$", script.read_text(), re.MULTILINE)[0]
    assert (name, int(seconds) >= 60) == ("USR1", True)
    assert re.search(r"^#SBATCH --requeue$", script.read_text(), re.MULTILINE)
    assert run(script, cluster, needs=1, number=signal.SIGUSR1) == 138
    assert (cluster / "requeued").read_text() == "requeue 7\n"
    assert run(script, cluster, needs=1) == 0  # the same script resumes, and is not queued a third time
    first, second = trainings(cluster)
    assert first == second
    assert (cluster / "requeued").read_text() == "requeue 7\n"


def test_a_job_that_is_cancelled_is_not_queued_again(cluster):
    assert run(JOBS / "slurm.sh", cluster, needs=1, number=signal.SIGTERM) == 143
    assert not (cluster / "requeued").exists()


@pytest.mark.parametrize(("name", "processes"), [("lsf.sh", 1), ("lsf-hosts.sh", 2)])
def test_lsf_stops_the_training_in_time_and_queues_it_again_by_its_exit_code(name, processes, cluster):
    """SIGUSR2 goes to all processes of a job, including its script, which waits for the training to save."""
    text = (JOBS / name).read_text()
    options = dict(re.findall(r'^#BSUB (-\w+) "?([^"\n]*)"?$', text, re.MULTILINE))
    assert (options["-wa"], options["-Q"]) == ("USR2", "140")
    assert int(options["-wt"]) >= 1
    assert run(JOBS / name, cluster, needs=1, number=signal.SIGUSR2, to_script=True) == 140
    assert run(JOBS / name, cluster, needs=1) == 0
    calls = trainings(cluster)
    assert len(calls) == 2 * processes
    assert calls[::2] == calls[1::2]
