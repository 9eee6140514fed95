"""The claims are data that a table, a picture and a judge can use."""

import subprocess
import sys

import pytest

from bench.proof_claims import CLAIMS, Claim
from reports.drawing import LABEL
from reports.proof_measured import measure

PARTS = {
    *("environment", "tests", "loss", "capture", "dali"),
    *("compare", "ladder", "cifar-r18", "memory", "cifar10"),
}


def test_every_claim_has_a_name_and_words_of_its_own() -> None:
    assert len({claim.id for claim in CLAIMS}) == len(CLAIMS)
    assert len({claim.sentence for claim in CLAIMS}) == len(CLAIMS)
    assert len({claim.quantity for claim in CLAIMS}) == len(CLAIMS)
    assert max(len(claim.id) for claim in CLAIMS) <= LABEL, "a picture would cut it"


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_every_claim_is_of_a_part_and_something_measures_it(claim: Claim) -> None:
    assert claim.part in PARTS
    assert measure.dispatch(type(claim.quantity)) is not measure.dispatch(object)
    if claim.target is not None and claim.unit == "%":
        assert 0 < claim.target < 1


def test_claims_are_read_without_torch() -> None:
    code = "import sys, bench.proof_claims; sys.exit('torch' in sys.modules or 'pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
