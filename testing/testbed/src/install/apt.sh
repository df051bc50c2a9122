# Installs the Debian packages "$@" for their programs alone: no cluster is
# made, no server is started now or at the next boot. What this machine had
# before stays as it was: both files below are there only meanwhile.

set -eu
export DEBIAN_FRONTEND=noninteractive

policy=/usr/sbin/policy-rc.d
clusters=/etc/postgresql-common/createcluster.d
no_cluster=$clusters/zz-earned.conf
main=/etc/postgresql-common/createcluster.conf
made_policy= saved_main=

restore() {
    rm -f "$no_cluster"
    rmdir "$clusters" 2>/dev/null || :
    [ -z "$made_policy" ] || rm -f "$policy"
    [ -z "$saved_main" ] || mv -f "$saved_main" "$main"
}
trap restore EXIT
trap 'exit 1' HUP INT TERM

# 101 tells every package's scripts to start nothing.
if [ ! -e "$policy" ]; then
    made_policy=1
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi

# The package's own createcluster.conf, there or about to come, includes this folder.
case " $* " in *' postgresql '*)
    mkdir -p "$clusters"
    echo 'create_main_cluster = false' >"$no_cluster"
    if [ -e "$main" ] && ! grep -q '^ *include_dir' "$main"; then
        cp -p "$main" "$main.earned-saved"
        saved_main=$main.earned-saved
        echo 'create_main_cluster = false' >>"$main"
    fi
    ;;
esac

had_redis= had_pgbouncer= had_nginx=
[ ! -e /usr/bin/redis-server ] || had_redis=1
[ ! -e /usr/sbin/pgbouncer ] || had_pgbouncer=1
[ ! -e /usr/sbin/nginx ] || had_nginx=1

apt-get update
apt-get install -y --no-install-recommends \
    -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "$@"

disable() {
    if command -v systemctl >/dev/null; then
        systemctl disable "$1" || true
    elif command -v update-rc.d >/dev/null; then
        update-rc.d "$1" disable || true
    fi
}
if [ -z "$had_redis" ] && [ -e /usr/bin/redis-server ]; then disable redis-server; fi
if [ -z "$had_pgbouncer" ] && [ -e /usr/sbin/pgbouncer ]; then disable pgbouncer; fi
if [ -z "$had_nginx" ] && [ -e /usr/sbin/nginx ]; then disable nginx; fi
