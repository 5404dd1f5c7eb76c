#!/usr/bin/env bash
# The tests; arguments go to pytest (--slow runs the slow ones too). Makes its own environment on the first run.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$ROOT/bench/environment.sh"
cd "$ROOT"
# A file's tests stay in one process: they share compiled models, and a finished sweep.
parallel=()
if "$PYTHON" -c 'import xdist' 2>/dev/null; then parallel=(-n auto --dist loadfile); fi
exec "$PYTHON" -m pytest ${parallel[@]+"${parallel[@]}"} "$@"
