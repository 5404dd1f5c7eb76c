"""The contenders of a GPU, on one: they compute what ours does, and their two clocks agree."""

import pytest

from lengthscale.bench.peers.case import Case
from lengthscale.bench.peers.contenders import CONTENDERS, serve, version
from lengthscale.bench.peers.contenders.meter import METERS
from lengthscale.bench.peers.contenders.settings import set_up
from lengthscale.bench.peers.rounds import TOLERANCES
from lengthscale.bench.peers.rows import ROWS
from tests.helpers.platforms import ON_GPU

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not ON_GPU, reason="needs a GPU: ./run_tests.sh --gpu -m gpu")]
PEERS = [(row, name) for row in ROWS if row.platform == "gpu" for name in row.peers]


@pytest.mark.parametrize(("row", "name"), PEERS, ids=lambda part: getattr(part, "name", part))
def test_a_contender_of_a_gpu(tmp_path, row, name):
    if version(name) is None:
        pytest.skip(f"{name}: {', '.join(CONTENDERS[name].packages)} are not all installed")
    set_up(name, 1)
    case = Case(row.name, row.measure, 1000, 2, 1)
    ours, theirs = (serve.build(each, case, None, "cuda") for each in ("ours", name))
    serve.compare(ours.outputs(ours.call()), tmp_path / "ours.npz")
    differences = serve.compare(theirs.outputs(theirs.call()), tmp_path / "ours.npz")
    assert max(differences.values()) < TOLERANCES[row.dtype], differences
    assert theirs.device_s is not None
    # The events do not see what comes before a call's first kernel; they take some time themselves.
    assert theirs.device_s(50) < 1.2 * METERS["queued"](theirs, 50) + 2e-5
