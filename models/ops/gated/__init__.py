"""The recurrences of RNN, LSTM and GRU: the equations and their adjoints (equation.py), the forms (scan.py, native.py,
pallas.py), and which of them is taken (dispatch.py)."""

from lengthscale.models.ops.gated.dispatch import METHODS, gru, lstm, rnn
from lengthscale.models.ops.gated.equation import gru_reference, lstm_reference, rnn_reference

__all__ = ["METHODS", "gru", "gru_reference", "lstm", "lstm_reference", "rnn", "rnn_reference"]
