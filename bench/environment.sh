# Sourced by run_bench.sh and run_tests.sh. Sets PYTHON to an interpreter that has everything: that of .venv, which is
# made once and again when pyproject.toml, constraints.txt, the Python or the accelerator changes; or, where packages
# are installed already and nothing can be downloaded, the one named by LENGTHSCALE_PYTHON. LENGTHSCALE_EXTRAS: further
# extras of pyproject.toml; what .venv has once, it keeps.

find_python() {
    local candidate
    for candidate in python3 python3.13 python3.12 python3.11 python; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    echo "error: Python 3.11 or later is needed, and none was found on PATH" >&2
    return 1
}

accelerator_extra() {
    if [ -e /dev/accel0 ] || [ -n "${TPU_NAME:-}" ]; then
        echo tpu
    elif command -v nvidia-smi >/dev/null && nvidia-smi >/dev/null 2>&1; then
        if nvidia-smi | grep -qE 'CUDA Version: 1[3-9]'; then echo cuda13; else echo cuda12; fi
    fi
}

# The checkout itself as the package `lengthscale`: its folders bench/ and models/ are lengthscale.bench and
# lengthscale.models, with nothing installed.
mkdir -p "$ROOT/.python"
ln -sfn .. "$ROOT/.python/lengthscale"
export PYTHONPATH="$ROOT/.python${PYTHONPATH:+:$PYTHONPATH}"
if [ -n "${LENGTHSCALE_PYTHON:-}" ]; then
    PYTHON=$LENGTHSCALE_PYTHON
else
    base=$(find_python)
    venv=$ROOT/.venv
    extra=$(accelerator_extra)
    installed=$(cat "$venv/extras" 2>/dev/null || true)
    wanted=test${LENGTHSCALE_EXTRAS:+,$LENGTHSCALE_EXTRAS}${extra:+,$extra}
    extras=$(tr , '\n' <<<"$installed,$wanted" | sed '/^$/d' | sort -u | paste -sd ,)
    stamp=$({ cat "$ROOT/pyproject.toml" "$ROOT/constraints.txt"; "$base" -VV; echo "$extras"; } | cksum)
    PYTHON=$venv/bin/python
    if [ "$(cat "$venv/stamp" 2>/dev/null)" != "$stamp" ]; then
        echo "Setting up .venv with $("$base" -V) (once; a few minutes) ..." >&2
        "$base" -m venv --clear "$venv"
        "$PYTHON" -m pip install --quiet --disable-pip-version-check -c "$ROOT/constraints.txt" -e "$ROOT[$extras]" >&2
        echo "$extras" >"$venv/extras"
        echo "$stamp" >"$venv/stamp"
    fi
fi
