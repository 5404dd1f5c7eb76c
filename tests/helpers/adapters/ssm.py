"""Discretisations, linear state space models, S4D, HiPPO."""

import jax.numpy as jnp
import numpy as np
from flax import nnx

from lengthscale.models import hippo as hippo_matrices
from lengthscale.models.ops.discretise import discretise as discretise_op
from lengthscale.models.ops.linear_scan import linear_scan
from lengthscale.models.ops.s4d import METHODS, System, s4d, s4d_kernel
from lengthscale.models.ops.selective_scan import METHODS as SCAN_METHODS
from lengthscale.models.ops.selective_scan import Inputs, selective_scan
from lengthscale.models.ssm import S4D, S4DConfig
from lengthscale.models.weights import with_weights

# outputs' suffix -> our rule
RULES = {rule: rule for rule in ("zoh", "bilinear", "euler", "backward_diff")} | {"mamba_zohA_eulerB": "mamba"}


def discretise_of(method):
    def adapter(inputs, weights, meta):
        A, B, C, u, dt = (inputs[name] for name in ("A", "B", "C", "u", "dt"))
        outputs = {}
        for suffix, rule in RULES.items():
            a, b = discretise_op(A, B[:, None], dt[:, :, None], rule)
            x = Inputs(u[None], dt[None], B[None], C[None])
            y, h = selective_scan(x, A, discretisation=rule, method=method)
            outputs |= {f"y_{suffix}": y[0], f"h_last_{suffix}": h[0].T}
            if rule != "mamba":
                outputs |= {f"Abar_{suffix}": a, f"Bbar_{suffix}": b}
        return outputs

    return adapter


def _impulse_response(u, a, b, c, method):
    """K of a method, as what it answers to a one among zeros."""
    impulse = jnp.zeros((1, *u.shape[-2:]), u.dtype).at[:, 0].set(1)
    return s4d(impulse, System(a, b, c), method=method)[0][0].T


def ssm_lti_of(method):
    def adapter(inputs, weights, meta):
        A, B, C = (inputs[f"{name}_re"] + 1j * inputs[f"{name}_im"] for name in ("Lambda", "B", "C"))
        u, D, outputs = inputs["u"], inputs["D"], {}
        for rule in ("zoh", "bilinear"):
            # S5 (Smith et al., arXiv:2208.04933): one state for all channels, a step for each of its entries
            a, b = discretise_op(A[:, None], B, inputs["dt_state"][:, None], rule)
            driven = u @ b.T
            x = linear_scan(jnp.broadcast_to(a[:, 0], (1, *driven.shape)), driven[None])[0]
            outputs |= {
                f"s5_y_{rule}": 2 * (x @ C.T).real + D * u,
                f"s5_Lambda_bar_re_{rule}": a[:, 0].real,
                f"s5_Lambda_bar_im_{rule}": a[:, 0].imag,
                f"s5_B_bar_re_{rule}": b.real,
                f"s5_B_bar_im_{rule}": b.imag,
            }
            a, b = discretise_op(A, 1.0, inputs["dt_channel"][:, None], rule)
            outputs |= {
                f"s4d_y_{rule}": s4d(u[None], System(a, b, C), method=method, chunk=8)[0][0] + D * u,
                f"s4d_K_{rule}": _impulse_response(u, a, b, C, method),
            }
        return outputs

    return adapter


def s4d_layer_of(method):
    def adapter(inputs, weights, meta):
        u = inputs["u"]

        def make():
            config = S4DConfig(u.shape[-1], d_state=meta["d_state"], discretisation=meta["discretization"])
            return S4D(config, method=method, rngs=nnx.Rngs(0))

        mixer = with_weights(
            make,
            {
                **{name: weights[f"kernel.{name}"] for name in ("log_dt", "log_A_real", "A_imag", "C")},
                "D": weights["D"],
                "out.kernel": weights["output_linear.0.weight"][:, :, 0].T,
                "out.bias": weights["output_linear.0.bias"],
            },
        )
        a, b, c = mixer.discrete()
        return {"y": mixer(u, None, 0)[0], "K": s4d_kernel(b * c, a, u.shape[1])}

    return adapter


def hippo(inputs, weights, meta):
    size = meta["N"]
    A, B = hippo_matrices.legs(size)
    normal = hippo_matrices.legs_normal_eigenvalues(size)
    outputs = {
        "A_legs": A,
        "B_legs": B[:, None],
        "eig_normal_part_re": np.real(normal),
        "eig_normal_part_im": np.imag(normal),
        "nplr_w_re": np.real(normal[: size // 2]),  # of each conjugate pair the one below
        "nplr_w_im": np.imag(normal[: size // 2]),
        "s4d_lin_im": np.imag(hippo_matrices.s4d_lin(size)),
        "s4d_inv_im": np.imag(hippo_matrices.s4d_inv(size)),
        "s4d_real": np.real(hippo_matrices.s4d_real(size)),
    }
    return {name: jnp.asarray(value) for name, value in outputs.items()}


ADAPTERS = {
    # the kernels know one rule
    "discretise": {method: discretise_of(method) for method in SCAN_METHODS if method not in ("native", "pallas")},
    "ssm_lti": {method: ssm_lti_of(method) for method in METHODS},
    "s4d_layer": {method: s4d_layer_of(method) for method in METHODS},
    "hippo": {"": hippo},
}
