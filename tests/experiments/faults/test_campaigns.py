"""The short form of the fault campaign, and that it can fail."""

import pytest

from experiments.faults.model_files import flipped_bits
from experiments.faults.writes import failing_writes
from experiments.parts.faults import CAMPAIGNS
from jvae.runs import checkpoint

# processes, repeated trainings, and the rest of model files
LONG = ("SIG", "two ", "interrupted", "failing write", "mutated", "mismatched", "flipped", "truncated")


@pytest.mark.parametrize(
    "campaign",
    [pytest.param(c, marks=pytest.mark.slow if c.fault.startswith(LONG) else []) for c in CAMPAIGNS],
    ids=lambda campaign: campaign.fault,
)
def test_faults_are_handled(campaign, tmp_path):
    texts = list(campaign.inject(tmp_path, 0.05))
    assert texts
    assert [text for text in texts if text] == []


@pytest.mark.slow
def test_the_campaign_sees_faults_that_are_not_handled(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "load", lambda path: None)
    assert all("was loaded" in text for text in flipped_bits(tmp_path, 0.01))
    monkeypatch.undo()
    monkeypatch.setattr(checkpoint, "write_atomically", lambda path, data: path.write_bytes(data[: len(data) // 2]))
    (tmp_path / "more").mkdir()
    with pytest.raises(checkpoint.ModelFileError, match="damaged"):
        list(failing_writes(tmp_path / "more", 0.1))
