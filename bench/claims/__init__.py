"""The article's eight claims, each put to the test: number -> claim.

Adding a claim: one file with CLAIM, one line here.
"""

from lengthscale.bench.claims import (
    decode_speed,
    discretisation,
    domains,
    long_dependencies,
    parallel_and_recurrent,
    real_context,
    scaling,
    small_data,
)
from lengthscale.bench.claims.claim import Claim

CLAIMS: dict[int, Claim] = {
    1: long_dependencies.CLAIM,
    2: scaling.CLAIM,
    3: decode_speed.CLAIM,
    4: real_context.CLAIM,
    5: domains.CLAIM,
    6: small_data.CLAIM,
    7: parallel_and_recurrent.CLAIM,
    8: discretisation.CLAIM,
}
