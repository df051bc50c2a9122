# Outlives the process that started it by as long as it takes to end what that
# process guarded. Its input is a pipe whose other end closes when that process
# dies, however it dies.
#
#   $1               where the folder is made; its path is the one line printed
#   + PID SIGNAL     guard PID: at the end it gets SIGNAL, then KILL
#   - PID            PID has ended and was reaped

trap '' HUP INT QUIT TERM
cd /
root=$(mktemp -d "$1/earned-XXXXXXXX") || exit 1
chmod 711 "$root" # the servers' account must reach its own folders inside
printf '%s\n' "$root"
exec >/dev/null

# Sets $born to what tells a process from a later one with the same PID; empty
# if there is none, or a zombie.
birth() {
    born=
    if [ -r /proc/self/stat ]; then
        { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 0
        set -- ${stat##*) }
        case $1 in Z | X) ;; *) born=${20} ;; esac
    else
        stat=$(ps -o state= -o lstart= -p "$1" 2>/dev/null) || return 0
        case $stat in Z*) ;; *) born=$(printf %s "${stat#* }" | tr -d ' :') ;; esac
    fi
}

# Prints "PID PPID" of every process.
processes() {
    if [ -r /proc/self/stat ]; then
        for stat in /proc/[0-9]*/stat; do
            { read -r line <"$stat"; } 2>/dev/null || continue
            pid=${stat#/proc/}
            set -- ${line##*) }
            printf '%s %s\n' "${pid%/stat}" "$2"
        done
    else
        ps -A -o pid= -o ppid=
    fi
}

guarded= # PID:BORN:SIGNAL ...
while read -r verb pid signal; do
    case $verb in
    +)
        birth "$pid"
        guarded="$guarded $pid:$born:$signal"
        ;;
    -)
        kept=
        for entry in $guarded; do
            case $entry in "$pid":*) ;; *) kept="$kept $entry" ;; esac
        done
        guarded=$kept
        ;;
    esac
done

# The family is listed before anything is signalled: orphans cannot be found.
family=' '
for entry in $guarded; do
    pid=${entry%%:*}
    birth "$pid"
    case $entry in "$pid:$born:"?*) [ -z "$born" ] || family="$family$pid " ;; esac
done
table=$(processes)
grown=1
while [ "$grown" ]; do
    grown=
    set -- $table
    while [ $# -gt 1 ]; do
        case $family in
        *" $1 "*) ;;
        *" $2 "*) family="$family$1 " grown=1 ;;
        esac
        shift 2
    done
done
living=
for pid in $family; do
    birth "$pid"
    [ -z "$born" ] || living="$living $pid:$born"
done

wait_for_the_living() { # at most $1 twentieths of a second
    left=$1
    while :; do
        still=
        for entry in $living; do
            birth "${entry%%:*}"
            [ -z "$born" ] || [ "$born" != "${entry#*:}" ] || still="$still $entry"
        done
        living=$still
        [ -n "$living" ] && [ "$left" -gt 0 ] || return 0
        left=$((left - 1))
        sleep 0.05
    done
}

for entry in $living; do kill -CONT "${entry%%:*}" 2>/dev/null; done
for entry in $guarded; do
    pid=${entry%%:*}
    case $family in *" $pid "*) kill -"${entry##*:}" "$pid" 2>/dev/null ;; esac
done
wait_for_the_living 60
for entry in $living; do kill -KILL "${entry%%:*}" 2>/dev/null; done
wait_for_the_living 60

# A postmaster that was killed leaves a shared memory segment behind; its lock
# file names it: "KEY ID" in line 7.
for lock in "$root"/*/data/postmaster.pid; do
    [ -e "$lock" ] || continue
    set -- $(sed -n 7p "$lock")
    [ -z "${2-}" ] || ipcrm -m "$2" 2>/dev/null
done
rm -rf "$root"
