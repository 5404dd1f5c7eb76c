"""What distinguishes the series of one model, in words."""

from dataclasses import replace

from lengthscale.bench.plan.series import SeriesKey, distinctions


def key(**changes):
    return replace(SeriesKey("train", "mamba", "tiny", "auto", 1, "float32", "text", seed=0), **changes)


def test_each_is_named_by_what_differs():
    whole, pieces, wide = key(), key(chunk=4096), key(chunk=4096, batch=8)
    assert distinctions([whole, whole]) == {whole: ""}
    assert distinctions([whole, pieces]) == {whole: "whole", pieces: "in chunks of 4096"}
    assert distinctions([pieces, wide]) == {pieces: "batch 1", wide: "batch 8"}
