# What every job in the guest begins with: stop at the first failure, name each step.
set -eu
export FERRY_STATE_DIR=/tmp/state FERRY_CACHE_DIR=/tmp/cache
ferry=/app/bin/ferry
step() { read -r now _ </proc/uptime; echo "step: $* (at $now s)"; }
fail() { echo "FAILED: $*"; for log in /tmp/*.log; do echo "--- $log"; tail -n 20 "$log"; done; exit 1; }
# await SECONDS COMMAND...: until it succeeds.
await() {
  left=$(($1 * 10)); shift
  until "$@" >/dev/null 2>&1; do
    left=$((left - 1)); [ $left -gt 0 ] || fail "waited in vain for: $*"
    sleep 0.1
  done
}
# ends_well PID WHAT: a process of ours must end by itself, with status 0.
ends_well() { wait "$1" || fail "$2 ended with $?"; }
