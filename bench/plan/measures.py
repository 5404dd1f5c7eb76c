"""The measures: name -> where it runs and the columns it adds to its CSV.

Adding a measure: one file with `run(cell, settings, notify)`, one line here. Units are in the names; a blank means
"not measured".
"""

from __future__ import annotations

from dataclasses import dataclass

TIME = (
    "time_median_ms",
    "time_p10_ms",
    "time_p90_ms",
    "time_low_ms",  # bootstrap 95% interval of the median
    "time_high_ms",
    "n_samples",
    "tokens_per_s",
    "flags",  # "noisy": the interval is wider than +-5%; "few": under 5 samples; "coarse": near the clock's resolution
)
RATES = ("flops_per_s", "gemm_share", "bytes_per_s")  # bench/results/rates.py
COMPILE = ("trace_s", "lower_s", "compile_s", "flops")  # compile_s: blank for measures that train, whose seeds share it
MEMORY = ("mem_planned_bytes", "mem_peak_bytes", "mem_source")
HELD_OUT = (
    "context",  # tokens before the targets, on a stream
    "control",  # what was done to that context, such as "shuffled beyond 256"; blank where nothing was
    "eval_length",  # length of the held-out sequences, where the loss is a mean over all scored positions
    "loss",
    "loss_low",  # bootstrap 95% interval of the mean over sequences
    "loss_high",
    "accuracy",
    "accuracy_low",
    "accuracy_high",
    "chance_loss",  # of the best model that remembers no input
    "chance_accuracy",
    "n_sequences",
)
GRADIENT = (
    "trained",  # 0: at initialisation
    "distance",  # from the last step; a row covers the distances [distance, 2 x distance)
    "grad_norm",  # the median norm of d loss_T / d x_t
    "grad_norm_p10",
    "grad_norm_p90",
)
AGREEMENT = (
    "max_difference",  # the largest difference of a logit between the parallel and the recurrent form
    "largest_logit",
)
DISCRETISATION = (  # errors of one step, each the largest of all modes; bench/device/measures/discretisation.py
    "dt",
    "largest_z",  # dt |A|
    "transition_error",
    "held_error",
    "ramp_error",
)
GENERATION = (
    "ttft_ms",  # time to first token: the median of the program that reads the prompt
    "tpot_ms",  # time per output token: the median of the program of the other tokens, over their number
    "new_tokens",  # of a sequence, the first one included; tokens_per_s counts these alone
    "weights_bytes",
    "state_bytes",  # recurrent state or KV cache, with room for the prompt and the new tokens
    "activation_bytes",  # mem_planned_bytes, which is that of the larger program, less weights and state
)
RESAMPLING = (
    "rate",  # the sampling rate, divided by the rate at training
    "dt_factor",  # by which all steps dt were multiplied
    "dt_p10",  # over the trained model's channels, before that multiplication
    "dt_median",
    "dt_p90",
)
TRAINING = (
    "train_loss",
    "train_tokens",
    "steps",
    "learning_rate",
)
OPTIONAL = ("control",)  # a CSV has this column only if a row has a value, so that CSVs of older runs stay valid


@dataclass(frozen=True)
class Measure:
    """Where a measure runs, what it measures, and which columns it adds."""

    module: str
    about: str
    columns: tuple[str, ...]  # of its CSV, besides the cell's identity
    trains: bool = False  # trains on a budget of tokens; batch x length is the same at every length
    rounds: int = 1  # over 1: the cells of a curve are sampled round-robin, so that a drifting machine cannot bend it


MEASURES = {
    "forward": Measure(
        "lengthscale.bench.device.measures.forward",
        "prefill: L tokens in, the logits of the last one and the state out",
        TIME + COMPILE + RATES + MEMORY + ("state_bytes",),
        rounds=3,
    ),
    "train": Measure(
        "lengthscale.bench.device.measures.train",
        "one step on L tokens: forward, backward, AdamW",
        TIME + COMPILE + RATES + MEMORY + ("loss",),
        rounds=3,
    ),
    "decode": Measure(
        "lengthscale.bench.device.measures.decode",
        "one token at a context of L",
        TIME + COMPILE + RATES + MEMORY + ("state_bytes",),
        rounds=12,  # steps of a few milliseconds drift the most
    ),
    "generate": Measure(
        "lengthscale.bench.device.measures.generate",
        "new tokens after a prompt of L tokens, in compiled programs",
        TIME + COMPILE + RATES + MEMORY + GENERATION,
    ),
    "quality": Measure(
        "lengthscale.bench.device.measures.quality",
        "held-out loss and accuracy after training at length L",
        HELD_OUT + TRAINING + TIME + COMPILE + RATES + MEMORY,
        trains=True,
    ),
    "gradients": Measure(
        "lengthscale.bench.device.measures.gradients",
        "the gradient of the last step's loss by the inputs of earlier steps",
        GRADIENT + TRAINING + TIME + COMPILE + RATES + MEMORY,
        trains=True,
    ),
    "agreement": Measure(
        "lengthscale.bench.device.measures.agreement",
        "whether the parallel and the recurrent form give the same logits, after training",
        AGREEMENT + TRAINING + TIME + COMPILE + RATES + MEMORY,
        trains=True,
    ),
    "discretisation": Measure(
        "lengthscale.bench.device.measures.discretisation",
        "the error of one step of a trained state space model, for many steps dt",
        DISCRETISATION + TRAINING + TIME + COMPILE + RATES + MEMORY,
        trains=True,
    ),
    "resampling": Measure(
        "lengthscale.bench.device.measures.resampling",
        "a trained state space model at half the sampling rate, with its steps dt doubled or not",
        RESAMPLING + HELD_OUT + TRAINING + TIME + COMPILE + RATES + MEMORY,
        trains=True,
    ),
}
