"""Records of peers whose times are known."""

from lengthscale.bench.peers.record import ContenderRow, PeerRecord, Role
from lengthscale.bench.peers.rows import find
from lengthscale.bench.plan.status import Status
from lengthscale.bench.results.record import SCHEMA, Conditions


def record_of(case, ours, peer=None, limit=None, work=None, **facts):
    """facts: of ours, such as temp_bytes."""

    def one(name, role, samples, work, **more):
        return ContenderRow(
            contender=name,
            role=role,
            version="1",
            status=Status.OK,
            samples_s=tuple(samples),
            prepare_s=1.0,
            first_s=1.0,
            calls=1,
            work=work,
            worst_difference=0.0,
            **more,
        )

    row = find(case)
    rows = [one("ours", Role.OURS, ours, work, **facts)]
    rows += [one(row.peers[0], Role.PEER, peer, None)] if peer else []
    rows += [one(row.limit.contenders[0], Role.LIMIT, limit[0], limit[1])] if row.limit and limit else []
    environment = Conditions(git_sha="abc")
    return PeerRecord(schema=SCHEMA, cell=case, status=Status.OK, rows=tuple(rows), environment=environment)
