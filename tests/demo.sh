#!/usr/bin/env bash
# An agent under policy, end to end: level, identity, allowed work, a denied open, a denied connect, a revoke.
set -euo pipefail
bin=${AGENTGUARD_BIN:?}
dir=$(mktemp -d /tmp/agentguard-demo.XXXXXX)
workspace=$dir/workspace
mkdir -p "$workspace"
echo "hello from the workspace" > "$workspace/notes.txt"
ag() { "$bin" --socket "$dir/control.sock" --event-log "$dir/events.jsonl" "$@"; }
daemon=
finish() { [ -z "$daemon" ] || { kill "$daemon" 2>/dev/null || true; wait "$daemon" 2>/dev/null || true; }; rm -rf "$dir"; }
trap finish EXIT

echo "== what this machine enforces"; ag doctor
mkfifo "$dir/ready"
ag daemon --ready-fd 9 9>"$dir/ready" & daemon=$!
read -r -n 1 _ < "$dir/ready"

echo "== an agent at work"
(cd "$workspace" && ag run --policy build-runner --agent demo-builder --purpose "show a denial" -- \
  bash -c 'cat notes.txt; echo ok > made.txt; echo "identity: $AGENTGUARD_INVOCATION"; cat /etc/shadow; exec 3<>/dev/tcp/127.0.0.1/9' ) || true

echo "== a revoke"
mkfifo "$dir/started"
(cd "$workspace" && exec "$bin" --socket "$dir/control.sock" run --policy build-runner --agent demo-loop -- \
  bash -c 'echo up; while :; do :; done' > "$dir/started") & agent=$!
read -r _ < "$dir/started"
ag ps
ag revoke --agent demo-loop --kill
wait "$agent" || echo "the agent ended with status $?"

echo "== the evidence"; ag events
