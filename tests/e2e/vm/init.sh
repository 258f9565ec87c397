#!/bin/sh
# The first process of the machine: a tmpfs becomes the root, because nothing can exchange the root of an initramfs; then the
# runs, each with its status between marks.
export PATH=/bin HOME=/root
if [ ! -e /second ]; then
    mount -t tmpfs -o size=400m tmpfs /new
    cp -a /bin /etc /init /new/
    mkdir /new/proc /new/sys /new/dev /new/tmp /new/run /new/var /new/usr /new/root /new/work
    touch /new/second
    exec switch_root /new /init
fi
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t cgroup2 cgroup2 /sys/fs/cgroup
# This kernel maps no owners on a tmpfs, so the workspace is the workload's own.
chown 1000:1000 /work
cd /work

run() {
    local name=$1
    shift
    stockade run --progress none --recordings /records --run-id "$name" --listen none --socket none "$@" >/dev/null 2>&1
    local code=$?
    echo
    echo "MARK $name $code"
    cat "/records/$name/status.json"
    echo
}

run memory --memory 64MiB -- dd if=/dev/zero of=/dev/null bs=200M count=1
run child --memory 64MiB -- sh -c 'dd if=/dev/zero of=/dev/null bs=200M count=1; echo went on'
run processes --pids 20 -- sh -c 'for i in $(seq 60); do sleep 1000 & done'
run processors --cpus 0.2 --timeout 3 -- sh -c 'while :; do :; done'
run deaf --pids 700 -- sh -c 'trap "" TERM INT HUP; for i in $(seq 300); do setsid sleep 1000 & done; while [ "$(ps | grep -c "[s]leep 1000")" -lt 300 ]; do :; done'
echo
echo "MARK left $(ps | grep -c '[s]leep 1000') $(find /sys/fs/cgroup -name 'stockade*' | wc -l)"
poweroff -f
