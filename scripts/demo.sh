#!/usr/bin/env bash
# A container's life over HTTP, with nothing but curl. Each command is printed as it is run. Ends with 0 only if every
# answer and every event was the right one; leaves nothing behind either way.
. "$(dirname -- "${BASH_SOURCE[0]}")/env.sh"

bold='' dim='' red='' plain=''
if [ -t 1 ]; then bold=$'\e[1m' dim=$'\e[2m' red=$'\e[31m' plain=$'\e[0m'; fi
number=0

step () { number=$((number + 1)); printf '\n%s%d. %s%s\n' "$bold" "$number" "$1" "$plain"; }
note () { printf '   %s\n' "$1"; }
show () { printf '   %s$ %s%s\n' "$bold" "${1//$'\n'/$'\n'     }" "$plain"; }
fail () { printf '\n%sThe demo failed: %s%s\n' "$red" "$1" "$plain" >&2; exit 1; }

expect () {  # expect STATUS COMMAND: prints and runs a curl command; the last line of what it prints must be this HTTP status
  show "$2"
  answer=$(timeout 60 bash -c "$2") || fail 'curl got no answer'
  local status=${answer##*$'\n'}
  answer=${answer%"$status"}
  [ -z "${answer//$'\n'/}" ] || lay_out "$answer"
  note "HTTP $status"
  [ "$status" = "$1" ] || fail "that should have been HTTP $1"
}

lay_out () {  # JSON for reading: a line for each member
  printf '%s' "$dim"
  node -p 'const members = Object.entries(JSON.parse(process.argv[1])); members.map(([k, v]) => `     ${k}: ${JSON.stringify(v)}`).join("\n")' "$1"
  printf '%s' "$plain"
}

field () {  # field PATH JSON: field exit.status '{…}'
  node -p 'process.argv[1].split(".").reduce((value, key) => value?.[key], JSON.parse(process.argv[2]))' "$1" "$2"
}

await () {  # await SECONDS WHAT COMMAND…: until the command succeeds
  local deadline=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    kill -0 "$daemon" 2>/dev/null || fail 'the daemon ended'
    [ "$SECONDS" -lt "$deadline" ] || fail "$what did not come"
    sleep 0.05
  done
}

# An event on the stream is a block of lines that ends with an empty one: id, event, data.
event () { awk -v RS= -v type="event: $1" 'index($0, type) { print; found = 1; exit } END { exit !found }' "$directory/events"; }
data () { event "$1" | sed -n 's/^data: //p'; }

heard () {  # heard TYPE: waits for this event on the stream and prints it
  await 15 "the event $1" event "$1"
  note 'and on the event stream:'
  printf '%s' "$dim"
  event "$1" | sed 's/^/     /'
  printf '%s' "$plain"
}

shims () {  # the shims of this daemon: a shim works in its run's directory
  local process
  for process in /proc/[0-9]*; do
    case $(readlink "$process/cwd" 2>/dev/null) in "$directory"/state/runs/*) echo "${process#/proc/}" ;; esac
  done
}

daemon='' stream=''
directory=$(mktemp -d "${TMPDIR:-/tmp}/longshore-demo.XXXXXX")

cleanup () {
  local rc=$?
  trap - EXIT
  set +e
  if [ "$rc" -ne 0 ] && [ -s "$directory/log" ]; then
    echo 'The end of the daemon'"'"'s log:' >&2
    tail -n 20 "$directory/log" >&2
  fi
  if [ -n "$daemon" ] && kill -0 "$daemon" 2>/dev/null; then
    curl -s -m 20 --unix-socket "$SOCKET" -X DELETE 'http://localhost/containers/web?force=true' -o "$directory/deleted"
    kill "$daemon"
    wait "$daemon"
  fi
  [ -z "$stream" ] || kill "$stream" 2>/dev/null
  # Should the daemon have died before its container, the shim still holds it: asked once it sends SIGTERM, twice SIGKILL.
  for _ in 1 2 3; do
    left=$(shims)
    [ -n "$left" ] || break
    kill $left
    sleep 0.2
  done
  for run in "$directory"/state/runtime/*/; do
    [ -d "$run" ] && runc --root "$directory/state/runtime" delete --force "$(basename "$run")"
  done
  rm -rf -- "$directory"
  exit "$rc"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

export SOCKET=$directory/state/longshore.sock
bundle=$directory/bundle

printf '%slongshore: the life of a container, with curl%s\n' "$bold" "$plain"
note "All of it is in $directory and goes away at the end. In the commands,"
note "SOCKET=$SOCKET"
note 'JSON in answers is laid out here, a line for each member; events are shown as they come.'

step 'A bundle: a root directory with busybox, and a config.json that says what to run'
init="trap 'exit 42' TERM; touch /ready; while :; do sleep 1 & wait; done"
show 'scripts/bundle.sh '"$bundle"' /bin/sh -c "'"$init"'"'
scripts/bundle.sh "$bundle" /bin/sh -c "$init"
note 'Its shell traps SIGTERM and ends with 42: an init without a handler would not even notice the signal.'

step 'The daemon, on directories of its own'
show "bin/longshored --root $directory/root --state $directory/state &"
bin/longshored --root "$directory/root" --state "$directory/state" >"$directory/log" 2>&1 &
daemon=$!
await 20 'the daemon' curl -sf --unix-socket "$SOCKET" http://localhost/readyz
note 'It is ready: GET /readyz answers 200.'

step 'The event stream, in the background: it tells what happens from now on'
command='curl -sN --unix-socket $SOCKET -H "Accept: text/event-stream" "http://localhost/events?from=now" &'
show "$command"
curl -sN --unix-socket "$SOCKET" -H 'Accept: text/event-stream' 'http://localhost/events?from=now' \
  -D "$directory/headers" -o "$directory/events" &
stream=$!
touch "$directory/events"
await 10 'the event stream' grep -q '^HTTP/1.1 200' "$directory/headers"
note 'It is open: HTTP 200.'

step 'Create a container from the bundle'
expect 201 'curl -s -w "\n%{http_code}" --unix-socket $SOCKET http://localhost/containers \
  -H "Content-Type: application/json" -d '"'"'{"id": "web", "bundle": "'"$bundle"'", "labels": {"app": "demo"}, "start": false}'"'"
[ "$(field status "$answer")" = created ] || fail 'its status should be created'
heard StateCreate

step 'Start it'
expect 200 'curl -s -w "\n%{http_code}" --unix-socket $SOCKET -X POST http://localhost/containers/web/start'
[ "$(field status "$answer")" = running ] || fail 'its status should be running'
heard StateStart
await 10 "the container's shell" test -e "$bundle/rootfs/ready"

step 'Read it'
expect 200 'curl -s -w "\n%{http_code}" --unix-socket $SOCKET http://localhost/containers/web'
pid=$(field pid "$answer")
kill -0 "$pid" 2>/dev/null || fail "there is no process $pid"

step 'Send it SIGTERM'
expect 204 'curl -s -w "\n%{http_code}" --unix-socket $SOCKET http://localhost/containers/web/signal \
  -H "Content-Type: application/json" -d '"'"'{"signal": "SIGTERM"}'"'"
heard StateExit
exit_status=$(field exit.status "$(data StateExit)")
[ "$exit_status" = 42 ] || fail "its exit status should be the trap's 42, not $exit_status"
note "Its trap ended it: exit status $exit_status."

step 'Ask for the exit again: the same record, whenever it is asked for'
expect 200 'curl -s -w "\n%{http_code}" --unix-socket $SOCKET http://localhost/containers/web/wait'
[ "$(field status "$answer")" = 42 ] || fail 'the status should be 42 here too'

step 'Delete it; the bundle stays as it was'
expect 204 'curl -s -w "\n%{http_code}" --unix-socket $SOCKET -X DELETE http://localhost/containers/web'
heard StateDelete
expect 404 'curl -s -w "\n%{http_code}" --unix-socket $SOCKET http://localhost/containers/web'
[ -f "$bundle/config.json" ] || fail 'the bundle should still be there'

step 'Stop the daemon'
show "kill -TERM $daemon"
kill -TERM "$daemon"
rc=0
# A daemon that does not end is a failure to be told, not to be waited for.
deadline=$((SECONDS + 30))
while kill -0 "$daemon" 2>/dev/null; do
  [ "$SECONDS" -lt "$deadline" ] || { kill -KILL "$daemon"; fail 'the daemon did not end'; }
  sleep 0.05
done
wait "$daemon" || rc=$?
daemon=''
[ "$rc" -eq 0 ] || fail "the daemon ended with $rc"
note 'It ended with 0. Had a container been running, it would run on, and the next daemon would take it up again.'
left=$(find "$directory/state/runs" "$directory/root/containers" -mindepth 1 2>/dev/null) || :
[ -z "$left" ] || fail "this was left behind: $left"

printf '\n%sDone.%s make start runs the daemon for daily use; docs/ and GET /openapi.yaml tell the rest.\n' "$bold" "$plain"
