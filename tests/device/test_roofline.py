"""The least time of a program, from its text: kernels, bytes and products counted by hand, and against the jaxpr."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from lengthscale.bench.device.flops import flops
from lengthscale.bench.device.roofline import Rates, kernels_of

RATES = Rates(matrix=1e12, vector=1e11, bandwidth=1e9, launch_s=1e-6)

TEXT = """HloModule jit_step

%sliced (param_0.1: f32[6,8,8], param_1.1: s32[]) -> f32[1,8,8] {
  %param_0.1 = f32[6,8,8]{2,1,0} parameter(0)
  %param_1.1 = s32[] parameter(1)
  ROOT %slice = f32[1,8,8]{2,1,0} dynamic-slice(%param_0.1, %param_1.1, %param_1.1, %param_1.1), dynamic_slice_sizes={1,8,8}
}

%kept (param_0.2: f32[6,8,8], param_1.2: f32[8,8], param_2.2: s32[]) -> f32[6,8,8] {
  %param_0.2 = f32[6,8,8]{2,1,0} parameter(0)
  %param_1.2 = f32[8,8]{1,0} parameter(1)
  %param_2.2 = s32[] parameter(2)
  %bitcast.1 = f32[1,8,8]{2,1,0} bitcast(%param_1.2)
  ROOT %update = f32[6,8,8]{2,1,0} dynamic-update-slice(%param_0.2, %bitcast.1, %param_2.2, %param_2.2, %param_2.2)
}

%product (param_0.3: f32[8,8], param_1.3: f32[1,8,8]) -> f32[8,8] {
  %param_0.3 = f32[8,8]{1,0} parameter(0)
  %param_1.3 = f32[1,8,8]{2,1,0} parameter(1)
  %bitcast.2 = f32[8,8]{1,0} bitcast(%param_1.3)
  ROOT %dot.1 = f32[8,8]{1,0} dot(%param_0.3, %bitcast.2), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

%body (tuple.1: (s32[], f32[8,8], f32[6,8,8], f32[6,8,8])) -> (s32[], f32[8,8], f32[6,8,8], f32[6,8,8]) {
  %tuple.1 = (s32[], f32[8,8]{1,0}, f32[6,8,8]{2,1,0}, /*index=3*/f32[6,8,8]{2,1,0}) parameter(0)
  %i = s32[] get-tuple-element(%tuple.1), index=0
  %x = f32[8,8]{1,0} get-tuple-element(%tuple.1), index=1
  %w = f32[6,8,8]{2,1,0} get-tuple-element(%tuple.1), index=2
  %all = f32[6,8,8]{2,1,0} get-tuple-element(%tuple.1), index=3
  %slice_fusion = f32[1,8,8]{2,1,0} fusion(%w, %i), kind=kLoop, calls=%sliced
  %gemm_fusion = f32[8,8]{1,0} fusion(%x, %slice_fusion), kind=kCustom, calls=%product
  %update_fusion = f32[6,8,8]{2,1,0} fusion(%all, %gemm_fusion, %i), kind=kLoop, calls=%kept
  ROOT %tuple.2 = (s32[], f32[8,8]{1,0}, f32[6,8,8]{2,1,0}, f32[6,8,8]{2,1,0}) tuple(%i, %gemm_fusion, %w, %update_fusion)
}

ENTRY %main (p0: f32[8,8], p1: f32[6,8,8]) -> f32[8,8] {
  %p0 = f32[8,8]{1,0} parameter(0)
  %p1 = f32[6,8,8]{2,1,0} parameter(1)
  %zero = s32[] constant(0)
  %start = (s32[], f32[8,8]{1,0}, f32[6,8,8]{2,1,0}, f32[6,8,8]{2,1,0}) tuple(%zero, %p0, %p1, %p1)
  %while.1 = (s32[], f32[8,8]{1,0}, f32[6,8,8]{2,1,0}, f32[6,8,8]{2,1,0}) while(%start), condition=%never, body=%body, backend_config={"known_trip_count":{"n":"6"}}
  %x.2 = f32[8,8]{1,0} get-tuple-element(%while.1), index=1
  ROOT %scan = f32[8,8]{1,0} custom-call(%x.2, %p0), custom_call_target="__gpu$xla.gpu.triton", api_version=API_VERSION_TYPED_FFI
}
"""  # noqa: E501
BLOCK, INDEX = 8 * 8 * 4, 4


def test_kernels_bytes_and_products_of_a_loop():
    """Of the stack of matrices a step reads one, and writes one: not all six."""
    found = kernels_of(TEXT, RATES)
    slicing, multiplying, keeping = 2 * BLOCK + INDEX, 3 * BLOCK, 2 * BLOCK + INDEX
    assert found.n_bytes == 6 * (slicing + multiplying + keeping) + 3 * BLOCK
    assert found.count == 6 * 3 + 1
    assert found.matrix_flops == 6 * 2 * 8**3
    assert found.targets == {"__gpu$xla.gpu.triton": 1}
    assert found.seconds == pytest.approx(19e-6)  # each is shorter than its launch


def test_a_step_of_a_cell_reads_and_writes_one_place_of_the_arrays_of_all_steps():
    """An LSTM's: of xg and h one step of 100, of the state and the weights all."""
    results = "(f32[1,1,8]{2,1,0}, f32[1,100,1,8]{3,2,1,0})"
    text = f"""ENTRY %main (p0: f32[1,1,8], p1: f32[1,100,1,8], p2: f32[4,8,8], p3: f32[1,100,4,8]) -> {results} {{
  %p0 = f32[1,1,8]{{2,1,0}} parameter(0)
  %p1 = f32[1,100,1,8]{{3,2,1,0}} parameter(1)
  %p2 = f32[4,8,8]{{2,1,0}} parameter(2)
  %p3 = f32[1,100,4,8]{{3,2,1,0}} parameter(3)
  ROOT %call = {results} custom-call(%p0, %p1, %p2, %p3), custom_call_target="__gpu$xla.gpu.triton", metadata={{op_name="jit(f)/while/body/gated_step/pallas_call"}}
}}
"""  # noqa: E501
    assert kernels_of(text, RATES).n_bytes == 4 * (2 * 8 + 2 * 8 + 4 * 8 * 8 + 4 * 8)


def test_each_kernel_is_limited_by_what_takes_it_longest():
    def seconds(vector_flops=0.0, **rates):
        return kernels_of(TEXT, Rates(**{**vars(RATES), "launch_s": 0.0, **rates}), vector_flops).seconds

    moved = kernels_of(TEXT, RATES).n_bytes / 1e9
    assert seconds() == pytest.approx(moved)
    slow = 2 * 8**3 / 1e6
    assert seconds(matrix=1e6) == pytest.approx(moved + 6 * (slow - 3 * BLOCK / 1e9))
    assert seconds(vector_flops=1e6) == pytest.approx(moved - 3 * BLOCK / 1e9 + 1e6 / 1e11)


def test_products_of_a_compiled_program_are_those_of_its_jaxpr():
    """Of this machine's own compiler: a loop over matrices, and a product behind it."""

    def run(x, w, v):
        x, _ = lax.scan(lambda x, w: (x @ w, None), x, w)
        return x @ v

    args = jnp.ones((32, 32)), jnp.ones((5, 32, 32)), jnp.ones((32, 16))
    text = jax.jit(run).lower(*args).compile().as_text() or ""
    found = kernels_of(text, RATES)
    assert found.matrix_flops == flops(run, *args)
    assert found.n_bytes >= 4 * (5 * 3 * 32 * 32 + 32 * 32 + 2 * 32 * 16)
