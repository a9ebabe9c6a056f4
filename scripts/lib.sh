# Shared by the scripts: where things are, one line per step, and what counts as done.
# shellcheck shell=bash disable=SC2034

set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=$ROOT/.cache
LOG=$CACHE/setup.log
VENV=$ROOT/.venv
VENV_HA=$ROOT/.venv-ha

cd "$ROOT"
mkdir -p "$CACHE"

die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# step TITLE COMMAND...: run quietly, say how long it took, show the log's end on failure.
step() {
    local title=$1 began=$SECONDS status=0
    shift
    printf '  %-58s' "$title"
    printf '\n== %s\n' "$title" >>"$LOG"
    # A subshell with its own errexit: 'if' and '||' would switch errexit off in functions.
    set +e
    # Without the lock: a service that apt starts would keep it.
    (set -e; "$@") >>"$LOG" 2>&1 </dev/null 9>&-
    status=$?
    set -e
    if ((status)); then
        printf 'failed\n'
        tail -n 30 "$LOG" | sed 's/^/    /' >&2
        die "$title: failed; all of it is in ${LOG#"$ROOT"/}"
    fi
    printf '%4d s\n' $((SECONDS - began))
}

# stamp PYTHON FILE...: what an installation was made from, so that a second run skips it.
# A virtual environment holds absolute paths, hence the checkout's own in the key.
stamp() {
    local interpreter=$1
    shift
    { printf '%s\n%s\n' "$ROOT" "$interpreter"; cat "$@"; } | sha256sum | cut -d' ' -f1
}

is_stamped() { [[ -f $1 && $(<"$1") == "$2" ]]; }
