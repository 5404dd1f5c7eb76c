"""HiPPO-LegS and the diagonal matrices that stand in for it: what a state space model's A starts from.

LegS (Gu et al., arXiv:2008.07669, theorem 2; with the signs of x' = A x + B u) makes x the coefficients of the input's
history in Legendre polynomials. A = S - 1/2 - p p^T, with S skew-symmetric and p_n = sqrt(n + 1/2): without its
low-rank part A is normal, and its eigenvalues -1/2 +- i w are what S4 diagonalises. S4D-Lin and S4D-Inv approximate
them, S4D-Real is LegS's own diagonal (Gu et al., arXiv:2206.11893).

N is the size of the real state; the complex A hold one of each conjugate pair. All are float64 or complex128 of numpy:
constants, made once.
"""

import numpy as np


def legs(N: int) -> tuple[np.ndarray, np.ndarray]:
    """A (N, N) and B (N,): A_nk = -sqrt((2n+1)(2k+1)) for n > k, -(n+1) for n = k, 0 for n < k; B_n = sqrt(2n+1)."""
    B = np.sqrt(2 * np.arange(N) + 1.0)
    return -np.tril(np.outer(B, B), -1) - np.diag(np.arange(N) + 1.0), B


def legs_normal_eigenvalues(N: int) -> np.ndarray:
    """The N eigenvalues of LegS's normal part, A + p p^T, by ascending imaginary part; the real parts are all -1/2."""
    A, B = legs(N)
    skew = A + np.outer(B, B) / 2 + np.eye(N) / 2
    return -0.5 + 1j * np.linalg.eigvalsh(-1j * skew)


def s4d_lin(N: int) -> np.ndarray:
    """A_n = -1/2 + i pi n for n < N/2: a Fourier series with a decay."""
    return -0.5 + 1j * np.pi * np.arange(N // 2)


def s4d_inv(N: int) -> np.ndarray:
    """A_n = -1/2 + i N/pi (N/(2n+1) - 1) for n < N/2: nearest to LegS's own eigenvalues."""
    return -0.5 + 1j * N / np.pi * (N / (2 * np.arange(N // 2) + 1) - 1)


def s4d_real(N: int) -> np.ndarray:
    """A_n = -(n + 1) for n < N/2."""
    return -(np.arange(N // 2) + 1.0) + 0j
