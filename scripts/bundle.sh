#!/usr/bin/env bash
# scripts/bundle.sh DIR [COMMAND…]: makes an OCI bundle in DIR: a root directory with a static busybox, and a config.json
# that runs COMMAND (default: a shell that waits, and ends with 42 on SIGTERM) with namespaces of its own
# but for the network, which it shares with the host, so that no network has to be set up for it.
set -euo pipefail

[ $# -ge 1 ] || { echo 'usage: scripts/bundle.sh DIR [COMMAND…]' >&2; exit 2; }
directory=$1
shift
# An init gets only signals that it handles: without the trap SIGTERM would do nothing.
[ $# -gt 0 ] || set -- /bin/sh -c "trap 'exit 42' TERM; while :; do sleep 1 & wait; done"

busybox=$(command -v busybox) || { echo 'no busybox here: apt-get install busybox-static' >&2; exit 1; }
if ldd "$busybox" >/dev/null 2>&1; then
  echo "$busybox needs libraries that the container does not have: apt-get install busybox-static" >&2
  exit 1
fi

json () {  # the arguments as the inside of a JSON array
  local word list=
  for word; do
    word=${word//\\/\\\\}
    word=${word//\"/\\\"}
    word=${word//$'\n'/\\n}
    word=${word//$'\t'/\\t}
    list+=${list:+, }\"$word\"
  done
  printf '%s' "$list"
}

root=$directory/rootfs
mkdir -p "$root"/{bin,dev,etc,proc,root,run,sys,tmp}
chmod 1777 "$root/tmp"
cp "$busybox" "$root/bin/busybox"
# One hard link for each of its commands.
"$root/bin/busybox" --install "$root/bin" 2>/dev/null || "$busybox" --list | while read -r name; do ln -sf busybox "$root/bin/$name"; done
echo 'root:x:0:0:root:/root:/bin/sh' > "$root/etc/passwd"
echo 'root:x:0:' > "$root/etc/group"

cat > "$directory/config.json" <<JSON
{
  "ociVersion": "1.0.2",
  "process": {
    "terminal": false,
    "user": { "uid": 0, "gid": 0 },
    "args": [$(json "$@")],
    "env": ["PATH=/bin", "HOME=/root", "TERM=xterm"],
    "cwd": "/",
    "capabilities": {
      "bounding": ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"],
      "effective": ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"],
      "permitted": ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
    },
    "rlimits": [{ "type": "RLIMIT_NOFILE", "soft": 1024, "hard": 1024 }],
    "noNewPrivileges": true
  },
  "root": { "path": "rootfs", "readonly": false },
  "hostname": "busybox",
  "mounts": [
    { "destination": "/proc", "type": "proc", "source": "proc" },
    { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
    { "destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
    { "destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"] },
    { "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"] },
    { "destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"] }
  ],
  "linux": {
    "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
    "namespaces": [{ "type": "pid" }, { "type": "mount" }, { "type": "ipc" }, { "type": "uts" }],
    "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/sched_debug", "/proc/scsi", "/sys/firmware"],
    "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
  }
}
JSON
