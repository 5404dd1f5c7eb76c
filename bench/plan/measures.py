"""The measures: name -> where it runs and the columns it adds to its CSV.

Adding a measure: one file with `run(cell, settings, notify)`, one line here. Units are in the names; a blank means
"not measured".
"""

from __future__ import annotations

from dataclasses import dataclass

TIME = (
    "time_median_ms",  # the median of the replicates' medians, each of undisturbed samples where there are enough
    "time_p10_ms",  # the median of the replicates' 10th percentiles, of the same samples
    "time_p90_ms",
    "time_low_ms",  # 95% interval of the replicates' medians (intervals.of_replicates)
    "time_high_ms",
    "time_all_ms",  # the median of the replicates' medians of all samples, the disturbed ones included
    "n_samples",
    "n_disturbed",  # samples during which other processes had a core; bench/results/disturbance.py
    "n_replicates",
    "tokens_per_s",
    # "few": under 3 replicates, so no interval; "noisy": the interval is wider than +-10%; "coarse": near the clock's
    # resolution; "disturbed": too few undisturbed samples, or other processes were busy
    "flags",
)
RATES = ("flops_per_s", "gemm_share", "bytes_per_s")  # bench/results/rates.py
COMPILE = (
    "trace_s",
    "lower_s",
    "compile_s",  # blank for measures that train, whose seeds share it
    "flops",
    "precision",  # of its products, such as "bfloat16+float32"; bench/device/precision.py
)
MEMORY = ("mem_planned_bytes", "mem_peak_bytes", "mem_peak_low_bytes", "mem_peak_high_bytes", "mem_source")
ENERGY = (  # where the machine tells them; bench/device/power.py
    "joules_per_token",
    "joules_per_token_low",  # 95% interval over replicates
    "joules_per_token_high",
    "energy_source",
    "sm_clock_mhz",  # of a GPU, the median over samples
    "throttle_reasons",  # why a GPU was slowed down during any sample
)
HELD_OUT = (
    "context",  # tokens before the targets, on a stream
    "control",  # what was done to that context, such as "shuffled beyond 256"; blank where nothing was
    "n_items",  # on a task: what there is to remember, where that differs from training
    "eval_length",  # length of the held-out sequences, where the loss is a mean over all scored positions
    "loss",
    "loss_low",  # bootstrap 95% interval of the mean over sequences
    "loss_high",
    "accuracy",
    "accuracy_low",
    "accuracy_high",
    "chance_loss",  # of the best model that remembers no input
    "chance_accuracy",
    "n_sequences",  # on a stream with a context: places, whose means the interval is of
    "n_targets",  # on a stream with a context
    "gain_from",  # a shorter context, on the same targets ...
    "gain",  # ... by which the loss is larger, nats a target
    "gain_low",
    "gain_high",
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
    "ttft_low_ms",  # 95% interval over replicates
    "ttft_high_ms",
    "tpot_ms",  # time per output token: the median of the program of the other tokens, over their number
    "tpot_low_ms",
    "tpot_high_ms",
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
REMAT = "remat"  # what the gradient keeps of the blocks: none, block or full (models/remat.py), the first that fits
TRAINING = (
    REMAT,
    "state_bytes",  # of the trained model, after a sequence of the training length
    "train_loss",
    "train_tokens",
    "steps",
    "learning_rate",
    "warmup",  # share of the steps
    "recipe",  # where both come from: tuned, nearest (a search under other conditions), untuned, or given
)
CURVE = (  # of training, in rows of their own: the mean training loss since the row before
    "seen_tokens",
    "seen_s",  # of training, without compiling
    "seen_loss",
)
BREAKDOWN = (
    "mode",  # forward: a prefill; train: a training step
    REMAT,
    "part",  # a kind of operator, or "idle", when none runs; bench/device/operators.py
    "part_ms",  # of a step; the parts of a mode add up to traced_ms less profiler_ms
    "part_share",  # of that sum
    "traced_ms",  # the time of a step under the profiler
    "profiler_ms",  # what the profiler itself took of it, in loops of many small operators
    "untraced_ms",  # the median time of the same step without it
    "traced_steps",
    "breakdown_source",  # what the parts come from: profiler
    "flags",  # "perturbed": traced_ms is more than 15% over untraced_ms
)
OPERATOR = (
    "operand_bytes",  # of a step's arguments and results, each once: what any form of the operator must move
    "calls",  # the kernels that the step calls, or "none", where XLA's own code is all of it
)
SPEEDS = (  # of one step after another one, where what fits has run
    "longest_tokens_per_s",
    "batch_tokens_per_s",
)
FRONTIER = (  # what fits into the memory; how it is known: bench/device/largest.py
    "mode",  # forward, train or decode
    REMAT,
    "longest_tokens",  # the longest sequence that fits, at the cell's batch
    "longest_how",
    "too_long_tokens",  # the shortest sequence that was found not to fit
    "mem_planned_bytes",  # at longest_tokens; where that is blank, at the longest sequence that was planned
    "largest_batch",  # that fits, at the cell's length
    "largest_batch_how",
    "too_large_batch",
    "batch_planned_bytes",  # at largest_batch
    *SPEEDS,
    "memory_limit_bytes",  # into which it has to fit
)
DEPTH = (
    "mode",  # forward: a prefill; train: a training step
    REMAT,
    "depth",  # of the longest chain of operations that need each other; bench/device/depth.py
    "flops",
)
SPEEDUP = (
    REMAT,
    "cores",  # all of the process
    "one_core_ms",  # the median time of a step on one of them ...
    "all_cores_ms",  # ... and on all
    "speedup",  # one_core_ms / all_cores_ms
    "n_samples",  # of both, half of each
    "flags",  # "disturbed": other processes were busy
)
TIMED = TIME + COMPILE + RATES + MEMORY + ENERGY
TRAINED = TRAINING + TIMED
LEARNED = HELD_OUT + CURVE + TRAINED
# A CSV has such a column only if a row has a value: older CSVs stay valid.
_GAINS = ("n_items", "n_targets", "gain_from", "gain", "gain_low", "gain_high")
OPTIONAL = ("control", *_GAINS, *CURVE, "warmup", "recipe", "state_bytes", "precision", REMAT, *SPEEDS, *ENERGY)


@dataclass(frozen=True)
class Measure:
    """Where a measure runs, what it measures, and which columns it adds."""

    module: str
    about: str
    columns: tuple[str, ...]  # of its CSV, besides the cell's identity
    trains: bool = False  # trains on a budget of tokens; batch x length is the same at every length
    replicated: bool = False  # measured in several processes (--replicates), since its times are what it is about
    short: bool = False  # calls of a millisecond, whose times scatter more: about twice as many processes
    runs: bool = True  # False: programs are only traced, so that no method is checked against its reference
    on_tasks: bool = False  # on synthetic tasks alone, which its suite names where --data does not


MEASURES = {
    "forward": Measure(
        "lengthscale.bench.device.measures.forward",
        "prefill: L tokens in, the logits of the last one and the state out",
        (*TIMED, "state_bytes"),
        replicated=True,
    ),
    "train": Measure(
        "lengthscale.bench.device.measures.train",
        "one step on L tokens: forward, backward, AdamW",
        (*TIMED, REMAT, "loss"),
        replicated=True,
    ),
    "operator": Measure(
        "lengthscale.bench.device.measures.operator",
        "a block's attention or recurrence alone, on L tokens: forward and gradient",
        TIMED + OPERATOR,
        replicated=True,
    ),
    "decode": Measure(
        "lengthscale.bench.device.measures.decode",
        "one token at a context of L",
        (*TIMED, "state_bytes"),
        replicated=True,
        short=True,
    ),
    "generate": Measure(
        "lengthscale.bench.device.measures.generate",
        "new tokens after a prompt of L tokens, in compiled programs",
        TIMED + GENERATION,
        replicated=True,
    ),
    "quality": Measure(
        "lengthscale.bench.device.measures.quality",
        "held-out loss and accuracy after training at length L",
        LEARNED,
        trains=True,
    ),
    "recall": Measure(
        "lengthscale.bench.device.measures.quality",
        "accuracy of finding again what was read, against length and the number of items",
        LEARNED,
        trains=True,
        on_tasks=True,
    ),
    "tracking": Measure(
        "lengthscale.bench.device.measures.quality",
        "accuracy of following a state that every input changes, at the training length and beyond",
        LEARNED,
        trains=True,
        on_tasks=True,
    ),
    "gradients": Measure(
        "lengthscale.bench.device.measures.gradients",
        "the gradient of the last step's loss by the inputs of earlier steps",
        GRADIENT + TRAINED,
        trains=True,
    ),
    "agreement": Measure(
        "lengthscale.bench.device.measures.agreement",
        "whether the parallel and the recurrent form give the same logits, after training",
        AGREEMENT + TRAINED,
        trains=True,
    ),
    "discretisation": Measure(
        "lengthscale.bench.device.measures.discretisation",
        "the error of one step of a trained state space model, for many steps dt",
        DISCRETISATION + TRAINED,
        trains=True,
    ),
    "resampling": Measure(
        "lengthscale.bench.device.measures.resampling",
        "a trained state space model at half the sampling rate, with its steps dt doubled or not",
        RESAMPLING + HELD_OUT + TRAINED,
        trains=True,
    ),
    "breakdown": Measure(
        "lengthscale.bench.device.measures.breakdown",
        "where the time of a prefill and of a training step goes, by kind of operator",
        BREAKDOWN,
    ),
    "frontier": Measure(
        "lengthscale.bench.device.measures.frontier",
        "the longest sequence and the largest batch that fit into the memory",
        FRONTIER,
    ),
    "depth": Measure(
        "lengthscale.bench.device.measures.depth",
        "the depth of a prefill and of a training step: the longest chain of operations that need each other",
        DEPTH,
        runs=False,
    ),
    "speedup": Measure(
        "lengthscale.bench.device.measures.speedup",
        "how much faster a training step is on all cores than on one",
        SPEEDUP,
    ),
}
