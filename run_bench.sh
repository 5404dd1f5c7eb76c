#!/usr/bin/env bash
# The benchmark: without arguments the default suite; see --help. Makes its own environment on the first run.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$ROOT/bench/environment.sh"
exec "$PYTHON" -P -m lengthscale.bench "$@"
