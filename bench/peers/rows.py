"""The rows of `peers`: which ops and blocks are timed, what they are compared with, and the goals.

A machine with a GPU has the rows of a GPU, in whose names are the width and a precision other than float32; every other
machine has those of a CPU. Adding a row: a Row here, its inputs in contenders/inputs.py, and a builder for each of its
contenders.
"""

from __future__ import annotations

from dataclasses import dataclass

from lengthscale.bench.peers.case import D_MODEL, Case

MOST_TOKENS = 65_536  # of a batch on a CPU: more take the same time a token, and hours
LENGTHS = (512, 2048, 8192, 32_768)
CONTEXTS = (512, 8192, 65_536)
MILLION = 1 << 20
LINEAR_FROM = 1 << 16  # tokens: a million should take the same time a token as this many


@dataclass(frozen=True)
class Goal:
    """A bound on one number of a row, from a length on."""

    number: str  # share, ratio, overhead_us, temp_mb, temp_kb_per_token or peak_mb
    bound: float
    at_most: bool = False
    from_length: int = 0

    def __str__(self) -> str:
        where = f" (T >= {self.from_length})" if self.from_length else ""
        return f"{self.number} {'<=' if self.at_most else '>='} {self.bound:.3g}{where}"

    def met(self, value: float | None) -> bool | None:
        """Whether the number meets the bound; None where it was not measured."""
        if value is None:
            return None
        return value <= self.bound if self.at_most else value >= self.bound


@dataclass(frozen=True)
class Limit:
    """The best that the machine allows, measured in the same rounds: the fastest of `contenders` counts.

    rate=False: the limit is their time. rate=True: the limit is the time that the work of ours would take at their
    rate (FLOPs at the rate of a GEMM, bytes at the rate of a read).
    """

    name: str
    contenders: tuple[str, ...]
    rate: bool = False


GEMM = Limit("GEMM rate", ("gemm-jax", "gemm-torch"), rate=True)
READ = Limit("read rate", ("read-jax", "read-torch"), rate=True)


@dataclass(frozen=True)
class Row:
    """One measure of one op or block. cores: None for one core and all cores, "all" for all cores only.

    of: the op, where the name says more than that. d_model: its width (the selective scan's is twice that). dtype: of
    its arrays, a name of plan/dtypes.py. platform: the one whose row it is, as jax names it. most_tokens: of a batch.
    """

    name: str
    measure: str
    peers: tuple[str, ...]
    limit: Limit | None
    goals: tuple[Goal, ...]
    lengths: tuple[int, ...] = LENGTHS
    batches: tuple[int, ...] = (1,)
    cores: str | None = None
    of: str | None = None
    d_model: int = D_MODEL
    dtype: str = "float32"
    platform: str = "cpu"
    most_tokens: int = MOST_TOKENS

    @property
    def op(self) -> str:
        """The op or block, by whose name there are inputs and builders."""
        return self.of or self.name

    @property
    def meter(self) -> str:
        """How its samples are timed, a name of contenders/meter.py."""
        return "queued" if self.platform == "gpu" else "each"

    @property
    def contenders(self) -> tuple[str, ...]:
        """The names of all contenders except ours."""
        return (*self.peers, *(self.limit.contenders if self.limit else ()))

    def cases(self, lengths: tuple[int, ...] | None, cores: tuple[int, ...]) -> list[Case]:
        """The cases of the row, from short to long. lengths: in tokens; None for the row's. cores: numbers of cores."""
        wanted = self.lengths if lengths is None else lengths
        mine = cores if self.cores is None else cores[-1:]
        return [
            Case(self.name, self.measure, length, batch, n)
            for n in mine
            for batch in self.batches
            for length in wanted
            if batch == 1 or batch * length <= self.most_tokens
        ]


AHEAD = Goal("ratio", 1.0)
LITTLE_OVERHEAD = Goal("overhead_us", 30.0, at_most=True)
DECODERS = ("rnn", "lstm", "gru", "transformer", "transformer++", "transformer-window", "s4d", "mamba", "rwkv4")
STREAMED = ("rnn", "lstm", "gru", "rwkv4", "s4d", "mamba")
CACHED = ("transformer", "transformer++", "transformer-window")


def _recurrent(name: str, *more: str) -> tuple[Row, ...]:
    products = Limit("its matrix products alone", ("products",))
    peers = ("torch", "flax", *more)
    return (
        Row(name, "forward", peers, products, (AHEAD,), batches=(1, 8)),
        Row(name, "train", peers, products, (AHEAD,), batches=(1, 8)),
        Row(name, "decode", ("torch", "flax"), READ, (AHEAD, LITTLE_OVERHEAD), lengths=(512,)),
    )


def _on_gpu(name: str, peers: tuple[str, ...], **settings) -> tuple[Row, ...]:
    """The rows of a GPU, 768 wide. Its host's cores are not what is compared, so a contender may use all of them."""
    settings = {"d_model": 768, "platform": "gpu", "cores": "all"} | settings
    return tuple(Row(name, measure, peers, None, (AHEAD,), **settings) for measure in ("forward", "train"))


_SCAN = {"of": "selective-scan", "lengths": (4096, 65_536), "batches": (1, 8), "most_tokens": 8 * 65_536}
_GPU_ROWS = (
    *(
        row
        for op in ("rnn", "lstm", "gru")
        for row in _on_gpu(f"{op}-768", ("torch",), of=op, lengths=(1024,), batches=(1, 32))
    ),
    *_on_gpu("selective-scan-1536", ("mamba-ssm",), **_SCAN),
    *_on_gpu("selective-scan-1536-bfloat16", ("mamba-ssm",), **_SCAN, dtype="bfloat16"),
    *_on_gpu("wkv-768", ("fla",), of="wkv", lengths=(4096, 65_536)),
    *_on_gpu(
        "attention-768-bfloat16",
        ("torch-flash", "torch-cudnn"),
        of="attention",
        lengths=(4096, 16_384, 65_536),
        batches=(1, 8),
        most_tokens=8 * 16_384,
        dtype="bfloat16",
    ),
)
ROWS = (
    *_recurrent("rnn"),
    *_recurrent("lstm", "flax-lstmcell"),
    *_recurrent("gru"),
    Row(
        "selective-scan",
        "forward",
        ("jax-scan", "jax-associative"),
        Limit("vectorised C loop", ("c-loop",)),
        (Goal("share", 1 / 1.1),),
    ),
    Row(
        "selective-scan",
        "train",
        ("jax-scan", "jax-associative"),
        Limit("its forward", ("ours-forward",)),
        (Goal("share", 1 / 3.5), Goal("temp_mb", 32.0, at_most=True, from_length=32_768)),
    ),
    Row("mamba", "forward", ("transformers", "mambapy"), None, (Goal("ratio", 10.0),)),
    Row("mamba", "train", ("transformers", "mambapy"), None, (Goal("ratio", 10.0),)),
    Row("mamba", "decode", ("transformers", "mambapy"), READ, (AHEAD, LITTLE_OVERHEAD), lengths=(512,)),
    *(
        Row(
            "mamba-associative",
            measure,
            ("jax-associative", "ours-associative"),
            None,
            (Goal("ratio", 5.0, from_length=2048),),
        )
        for measure in ("forward", "train")
    ),
    *(
        Row(
            "attention",
            measure,
            ("torch", "jax-xla"),
            GEMM,
            (
                Goal("share", share),
                Goal("ratio", 1.0, from_length=4096),
                # The memory must be linear in T: a whole matrix of scores would take 16 T bytes a token.
                Goal("temp_kb_per_token", 16.0, at_most=True, from_length=2048),
            ),
        )
        for measure, share in (("forward", 0.65), ("train", 0.60))
    ),
    Row("attention", "decode", ("torch", "jax-xla"), READ, (AHEAD, LITTLE_OVERHEAD), lengths=CONTEXTS),
    *(
        Row("rwkv4", measure, ("transformers",), Limit("its GEMMs alone", ("products",)), (Goal("share", 1 / 1.3),))
        for measure in ("forward", "train")
    ),
    Row("rwkv4", "decode", ("transformers",), READ, (AHEAD, LITTLE_OVERHEAD), lengths=(512,)),
    *(Row(f"{name}-small", "decode", (), READ, (LITTLE_OVERHEAD,), lengths=CONTEXTS) for name in DECODERS),
    *(
        Row(
            f"{name}-small",
            "flat",
            (),
            Limit(f"a step at context {CONTEXTS[0]}", ("ours-shortest",)),
            (Goal("share", 1 / 1.05),),
            lengths=CONTEXTS[1:],
        )
        for name in DECODERS
        if name not in CACHED
    ),
    *(
        Row(f"{name}-small", "step", (), GEMM, (Goal("share", 0.55),), lengths=(2048, 8192), cores="all")
        for name in ("transformer", "mamba")
    ),
    *(
        Row(
            f"{name}-small",
            "long",
            (),
            Limit("its rate at 64k", ("ours-64k",), rate=True),
            (Goal("share", 1 / 1.1), Goal("peak_mb", 2 * 2**30 / 1e6, at_most=True)),
            lengths=(MILLION,),
            cores="all",
        )
        for name in STREAMED
    ),
    *_GPU_ROWS,
)
NAMES = tuple(dict.fromkeys(row.name for row in ROWS))


def find(case: Case) -> Row:
    """The row of a case. Raises StopIteration where the table has none."""
    return next(row for row in ROWS if (row.name, row.measure) == (case.row, case.measure))
