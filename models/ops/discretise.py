"""From a continuous diagonal system x' = A x + B u, y = C x + D u to steps x_t = Abar x_{t-1} + Bbar u_t.

With z = dt A, elementwise, and Bbar = gain dt B:

    rule            Abar                   gain
    zoh             e^z                    (e^z - 1) / z     the solution for u constant over a step
    bilinear        (1 + z/2) / (1 - z/2)  1 / (1 - z/2)     Tustin's: the trapezoid rule; |Abar| < 1 where Re z < 0
    mamba           e^z                    1                 what Mamba's code does
    euler           1 + z                  1                 forward Euler: |Abar| < 1 only where |1 + z| < 1
    backward_diff   1 / (1 - z)            1 / (1 - z)       backward Euler

C and D stay as they are. For an input that is constant over each step zoh is exact; the error of one step is of order 3
in dt for bilinear, of order 2 for the others. zoh and bilinear are S4D's (Gu et al., arXiv:2206.11893); euler and
backward_diff carry the names of `scipy.signal.cont2discrete`.
"""

from itertools import count
from math import factorial

import jax.numpy as jnp
from jax import Array
from jaxtyping import Inexact

RULES = ("zoh", "bilinear", "mamba", "euler", "backward_diff")


def discretise(
    A: Inexact[Array, "..."], B: Inexact[Array, "..."] | float, dt: Inexact[Array, "..."], rule: str
) -> tuple[Inexact[Array, "..."], Inexact[Array, "..."]]:
    """(Abar, Bbar): the system of one step of length dt, elementwise.

    A, B, dt: of the continuous system, real or complex; their shapes broadcast. rule: one of RULES. Raises ValueError
    for an unknown rule.
    """
    a, gain = transition(dt * A, rule)
    return a, dt * B if gain is None else gain * dt * B


def transition(z: Inexact[Array, "*S"], rule: str) -> tuple[Inexact[Array, "*S"], Inexact[Array, "*S"] | None]:
    """(Abar, gain) of z = dt A, real or complex; the gain is None where it is 1, to save a multiplication by it.

    rule: one of RULES. Raises ValueError for an unknown rule.
    """
    if rule == "zoh":
        exp_z = jnp.exp(z)
        return exp_z, _expm1_over(z, exp_z)
    if rule == "bilinear":
        gain = 1 / (1 - z / 2)
        return 1 + z * gain, gain  # for small z closer than the quotient: its powers lose 3 times fewer digits
    if rule == "mamba":
        return jnp.exp(z), None
    if rule == "euler":
        return 1 + z, None
    if rule == "backward_diff":
        gain = 1 / (1 - z)
        return gain, gain
    raise ValueError(f"unknown discretisation {rule!r}; expected {', '.join(RULES)}")


def _expm1_over(z, exp_z):
    """(e^z - 1) / z, exact to rounding in value and gradient down to z = 0.

    Near 0 it is the series sum z^k / (k+1)!, since a quotient's derivative, (e^z - expm1(z) / z) / z, loses all of its
    digits there even where expm1 saves the value. Beyond 1/2, e^z - 1 loses none.
    """
    near = jnp.abs(z) < 0.5
    terms = next(n for n in count(1) if 0.5**n / factorial(n) < jnp.finfo(z.dtype).eps)
    inside, outside = jnp.where(near, z, 0), jnp.where(near, 1, z)
    series = jnp.full_like(z, 1 / factorial(terms))
    for k in reversed(range(1, terms)):
        series = series * inside + 1 / factorial(k)
    return jnp.where(near, series, (exp_z - 1) / outside)
