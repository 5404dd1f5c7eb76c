"""The recurrences of RNN, LSTM (Hochreiter and Schmidhuber 1997) and GRU (Cho et al. 2014, in cuDNN's form).

    RNN   h_t = tanh(x_t + W h_{t-1})
    LSTM  i, f, g, o = split(x_t + W h_{t-1}), then i, f, o = sigmoid(i, f, o) and g = tanh(g)
          c_t = f_t c_{t-1} + i_t g_t          h_t = o_t tanh(c_t)
    GRU   r, z = sigmoid(x_rz + W_rz h_{t-1})          m_t = W_n h_{t-1} + b_n          n = tanh(x_n + r_t m_t)
          h_t = (1 - z_t) n_t + z_t h_{t-1}

The input's part x_t (in the code xg) is W_x u_t + b of the input u_t. It is one matrix product of all steps, outside
(see models/rnn.py, models/lstm.py and models/gru.py), so that the scan holds only what is sequential.

The adjoints are backpropagation through time (Werbos, Proceedings of the IEEE 78, 1990). dy_t = dL/dh_t of the output
h_t is given; dh_t is the whole gradient of h_t, what reaches it from step t + 1 included; dg_t is the gradient of
W h_{t-1}. The gates are those after their nonlinearities (LSTM: Greff et al., arXiv:1503.04069, section II; GRU: the
chain rule on Cho et al., arXiv:1406.1078).

    all   dW = sum_t dg_t h_{t-1}^T          dx_t = dg_t, but for the GRU
    RNN   dh_t = dy_t + W^T dg_{t+1}          dg_t = dh_t (1 - h_t^2)          dh_0 = W^T dg_1
    LSTM  dh_t = dy_t + W^T dg_{t+1}          dc_t = f_{t+1} dc_{t+1} + dh_t o_t (1 - tanh(c_t)^2)
          dg_t = (dc_t g_t i_t (1 - i_t),  dc_t c_{t-1} f_t (1 - f_t),  dc_t i_t (1 - g_t^2),
                  dh_t tanh(c_t) o_t (1 - o_t))
          dh_0 = W^T dg_1          dc_0 = f_1 dc_1          f_{T+1} dc_{T+1}: the gradient of the last cell, given
    GRU   dh_t = dy_t + z_{t+1} dh_{t+1} + W^T dg_{t+1}          dn_t = dh_t (1 - z_t) (1 - n_t^2)
          dr_t = dn_t m_t r_t (1 - r_t)          dz_t = dh_t (h_{t-1} - n_t) z_t (1 - z_t)
          dg_t = (dr_t, dz_t, dn_t r_t)          dx_t = (dr_t, dz_t, dn_t)          db_n = sum_t dn_t r_t
          dh_0 = z_1 dh_1 + W^T dg_1

Axes: B batch, T time, D width, G gates x D: 4 D in an LSTM, 3 D in a GRU.
"""

import jax.numpy as jnp
from jax import Array, lax
from jax.nn import sigmoid
from jaxtyping import Float


def rnn_reference(
    xg: Float[Array, "B T D"], w_h: Float[Array, "D D"], h0: Float[Array, "B D"]
) -> Float[Array, "B T D"]:
    """The RNN's equation, transcribed directly. Same arguments and result as `rnn`."""

    def step(h, x):
        h = jnp.tanh(x + h @ w_h.T)
        return h, h

    return jnp.moveaxis(lax.scan(step, h0, jnp.moveaxis(xg, 1, 0))[1], 0, 1)


def lstm_reference(
    xg: Float[Array, "B T G"], w_h: Float[Array, "G D"], h0: Float[Array, "B D"], c0: Float[Array, "B D"]
) -> tuple[Float[Array, "B T D"], Float[Array, "B D"]]:
    """The LSTM's equation, transcribed directly. Same arguments and results as `lstm`."""

    def step(state, x):
        h, c = state
        i, f, g, o = jnp.split(x + h @ w_h.T, 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * jnp.tanh(g)
        h = sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    (_, c), h = lax.scan(step, (h0, c0), jnp.moveaxis(xg, 1, 0))
    return jnp.moveaxis(h, 0, 1), c


def gru_reference(
    xg: Float[Array, "B T G"], w_h: Float[Array, "G D"], b_n: Float[Array, " D"], h0: Float[Array, "B D"]
) -> Float[Array, "B T D"]:
    """The GRU's equation, transcribed directly. Same arguments and result as `gru`."""

    def step(h, x):
        x_r, x_z, x_n = jnp.split(x, 3, axis=-1)
        h_r, h_z, h_n = jnp.split(h @ w_h.T, 3, axis=-1)
        r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
        n = jnp.tanh(x_n + r * (h_n + b_n))
        h = (1 - z) * n + z * h
        return h, h

    return jnp.moveaxis(lax.scan(step, h0, jnp.moveaxis(xg, 1, 0))[1], 0, 1)
