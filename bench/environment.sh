# Sourced by run_bench.sh and run_tests.sh. Sets PYTHON to an interpreter that has everything: that of .venv, which is
# made once, and again when pyproject.toml, constraints.txt, the Python or the accelerator changes; or, where packages
# are installed already and nothing can be downloaded, the one named by LENGTHSCALE_PYTHON. LENGTHSCALE_EXTRAS: further
# extras of pyproject.toml; .venv keeps those that it has.

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

# The chips of TPUs on the PCI bus, as jax knows them (jax/_src/hardware_utils.py): the names of devices are no sign.
has_tpu() {
    local device
    [ -z "${TPU_NAME:-}" ] || return 0
    for device in /sys/bus/pci/devices/*; do
        [ "$(cat "$device/vendor" 2>/dev/null)" = 0x1ae0 ] || continue
        case $(cat "$device/device") in 0x0027 | 0x0056 | 0x005e | 0x0062 | 0x0063 | 0x006f | 0x0076) return 0 ;; esac
    done
    return 1
}

accelerator_extra() {
    local listing
    if has_tpu; then
        echo tpu
    elif command -v nvidia-smi >/dev/null && listing=$(nvidia-smi 2>/dev/null); then
        if [[ $listing =~ CUDA\ Version:\ 1[3-9] ]]; then echo cuda13; else echo cuda12; fi
    fi
}

# .venv is a link to .venvs/KEY, an environment that was made where it stays, for scripts in it hold its path. Its stamp
# is written last: without one it is not complete (pip failed, or was interrupted), and the next start makes it again.
is_complete() {
    [ -x "$1/bin/python" ] && [ "$(cat "$1/stamp" 2>/dev/null)" = "$stamp" ]
}

is_being_made() {
    kill -0 "$(cat "$1.building" 2>/dev/null)" 2>/dev/null
}

# pip's lines, one for each package.
show_progress() {
    local line
    while IFS= read -r line; do
        case $line in
            Collecting*) line=${line#Collecting } && echo "  ${line%% *}" ;;
            *Downloading*) echo "    downloading ${line#*Downloading }" ;;
            Installing\ collected*) echo "  installing" ;;
        esac
    done
}

make_environment() {
    local failed=0
    if is_being_made "$new"; then
        echo "Waiting for process $(cat "$new.building"), which sets up .venv (if it does not: rm $new.building) ..." >&2
        while is_being_made "$new"; do sleep 1; done
    fi
    if is_complete "$new"; then return; fi
    echo "Setting up .venv with $("$base" -V) (once; a few minutes) ..." >&2
    mkdir -p "$ROOT/.venvs"
    echo $$ >"$new.building"
    rm -rf "$new"
    "$base" -m venv "$new" \
        && "$new/bin/python" -m pip install --disable-pip-version-check \
            -c "$ROOT/constraints.txt" -e "$ROOT[$extras]" | show_progress >&2 \
        && echo "$extras" >"$new/extras" && echo "$stamp" >"$new/stamp" || failed=1
    rm -f "$new.building"
    return $failed
}

# The one before stays, for runs under way and for a start that wants it again; older ones are removed.
switch_to_new() {
    local before=$ROOT/.venvs/before each
    if [ -L "$venv" ]; then
        before=$(cd "$venv" 2>/dev/null && pwd -P || true)
    elif [ -d "$venv" ]; then # of earlier versions
        rm -rf "$before"
        mv "$venv" "$before"
    fi
    ln -sfn ".venvs/$(basename "$new")" "$venv"
    for each in "$ROOT"/.venvs/*; do
        if [ -d "$each" ] && [ "$each" != "$new" ] && [ "$each" != "$before" ] && ! is_being_made "$each"; then
            rm -rf "$each"
        fi
    done
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
    if ! is_complete "$venv"; then
        new=$ROOT/.venvs/${stamp%% *}
        if ! make_environment; then
            echo "error: .venv could not be set up, as said above." >&2
            if [ -x "$venv/bin/python" ]; then
                echo "The one before is unchanged; to use it as it is: LENGTHSCALE_PYTHON=$venv/bin/python $0" >&2
            fi
            exit 2
        fi
        switch_to_new
    fi
    PYTHON=$(cd "$venv" && pwd -P)/bin/python # not by the link, which may come to lead elsewhere while it runs
fi
