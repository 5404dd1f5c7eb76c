"""FLOPs that the kernels in C++ say they take (models/ops/native) against the counts by hand of the same ops.

Kernels count by the equation, whatever their blocks. The tests in tests/models/ops compare that with the forms in JAX.
"""

import pytest

from lengthscale.models.ops import native
from tests.helpers.hand_counts import (
    CAUSAL,
    CELLS,
    CONV_TAP,
    SCAN_CHANNEL,
    SCAN_CHANNEL_BACKWARD,
    SCAN_STATE,
    SCAN_STATE_BACKWARD,
    SCORE,
    SILU,
    WHOLE,
    WINDOWED,
    seen,
)

B, T, H, K, E, N, D, TAPS, WINDOW = 2, 64, 4, 8, 16, 4, 12, 4, WINDOWED["window"]
QUERIES, KEYS = (B, T, H, K), (B, T, 2, K)
CHANNELS, STATES, CACHE = (B, T, E), (B, T, N), (3, B, 2, T, K)
GATE_CHANNEL = (
    4  # log(1 + exp(delta + bias))
    + 2  # y + D u
    + 3  # times z sigmoid(z)
)
GATE_CHANNEL_BACKWARD = (
    (4 + 1)  # dt again; its slope e / (1 + e)
    + (1 + 2)  # sigmoid(z); dy = dout z sigmoid(z)
    + (2 + 2 + 4)  # dz = dout (y + D u) (s + z s (1 - s))
    + (2 + 1)  # du + D dy; ddelta = ddt times the slope
    + (2 + 1)  # dD += dy u, dbias += ddelta
)
SILU_BACKWARD = 1 + 4 + 1  # s = sigmoid(a); dy (s + a s (1 - s))


def native_attention(numbers, scores, outputs, mask):
    return B * H * (len(seen(T, **mask)) * (numbers * K + scores) + outputs * T * K)


def native_scan(state, channel):
    return B * T * E * (N * state + channel)


def native_cell(gates, channel):
    return B * T * (2 * gates * D * D + channel * D)


# q . k, p v; q scaled, y divided. Backward: five products, exp(s - lse), p (dp - delta); y . dy, q scaled again, dq.
ATTENTION, ATTENTION_BACKWARD = (4, SCORE, 2), (5 * 2, 2 + 2, 2 + 2)
SCAN = (CHANNELS, CHANNELS, (N, E), STATES, STATES)
CONV = (CHANNELS, (TAPS, E), (E,), (B, TAPS - 1, E))
NATIVE = [
    *(
        (f"attention_{way}", (QUERIES, KEYS, KEYS), sizes, native_attention(*costs, mask))
        for way, costs in (("forward", ATTENTION), ("backward", ATTENTION_BACKWARD))
        for sizes, mask in (
            ({"causal": 1, "window": 0}, CAUSAL),
            ({"causal": 1, "window": WINDOW}, WINDOWED),
            ({"causal": 0, "window": 0}, WHOLE),
        )
    ),
    *(
        (
            "attention_step",  # over a full cache and the token's own key, or over the window alone
            ((B, 1, H, K), (B, 1, 2, K), (B, 1, 2, K), CACHE),
            {"window": window},
            B * H * ((window or T + 1) * (4 * K + SCORE) + 2 * K),
        )
        for window in (0, WINDOW)
    ),
    *(
        (f"causal_conv_{way}", CONV, {"silu": silu}, B * T * E * count)
        for silu in (0, 1)
        for way, count in (
            ("forward", CONV_TAP * TAPS + SILU * silu),
            # dx, dw, dbias; the sum again for SiLU's gradient
            ("backward", 2 * TAPS + 2 * TAPS + 1 + silu * (CONV_TAP * TAPS + SILU_BACKWARD)),
        )
    ),
    ("selective_scan_forward", SCAN, {"chunk": 16}, native_scan(SCAN_STATE, SCAN_CHANNEL)),
    ("selective_scan_backward", SCAN, {"chunk": 16}, native_scan(SCAN_STATE_BACKWARD, SCAN_CHANNEL_BACKWARD)),
    ("gated_selective_scan_forward", SCAN, {"chunk": 16}, native_scan(SCAN_STATE, SCAN_CHANNEL + GATE_CHANNEL)),
    (
        "gated_selective_scan_backward",
        SCAN,
        {"chunk": 16},
        native_scan(SCAN_STATE_BACKWARD + 2, SCAN_CHANNEL_BACKWARD + GATE_CHANNEL_BACKWARD),  # y again
    ),
    *(
        (
            f"{name}_{way}",
            # Forward: the inputs' part of the gates. Backward: what is kept of the forward pass, h or the gates.
            ((B, T, D if way == "backward" and name != "lstm" else gates * D), (gates * D, D)),
            {},
            native_cell(gates, channel),
        )
        for name, (_, gates, forward, backward) in CELLS.items()
        for way, channel in (("forward", forward + gates), ("backward", backward))  # the kernel adds the bias
    ),
]


@pytest.mark.parametrize(("name", "shapes", "sizes", "expected"), NATIVE)
def test_native(name, shapes, sizes, expected):
    assert native.flops(name, *shapes, **sizes) == expected


def test_every_kernel_is_counted():
    assert {name for name, *_ in NATIVE} == set(native.HANDLERS)
