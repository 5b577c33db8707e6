#!/bin/sh
# check_resume.sh: a run that was killed, or stopped, and resumed ends in the bytes of one that never was: checkpoint, log and
# sample grids. So do runs on 1, 2 and 3 threads, and one from the config.txt of another. A checkpoint is never half-written.
. tests/lib.sh
child=
trap '[ -z "$child" ] || kill -9 $child 2>/dev/null; rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM
cd "$dir" || exit 1

rows() { [ -f "$1/log.csv" ] && wc -l <"$1/log.csv" || echo 0; }

# Start `icd train ARGUMENTS` in the background and wait until RUN/log.csv has LINES lines (its header is one of them).
start()      # RUN LINES ARGUMENTS
{
    run=$1 lines=$2
    shift 2
    $EXE train "$@" --out "$run" >>"$run.out" 2>>"$run.err" &
    child=$!
    while [ "$(rows "$run")" -lt "$lines" ] && kill -0 $child 2>/dev/null; do :; done
}
# End it with a signal; it must still have been at work.
end()        # SIGNAL STATUS
{
    kill -"$1" $child 2>/dev/null
    wait $child 2>/dev/null
    rc=$?
    child=
    [ $rc -eq "$2" ] || { fail "$run ends with status $2 after SIG$1: $rc"; tail -n 3 "$run.err"; }
}
finish()     # RUN ARGUMENTS
{
    run=$1
    shift
    $EXE train --resume --out "$run" "$@" >>"$run.out" 2>>"$run.err" || { fail "$run resumes"; tail -n 1 "$run.err"; }
}
compare()    # RUN WHOLE
{
    same "$1/checkpoint.safetensors" "$2/checkpoint.safetensors"
    same "$1/log.csv" "$2/log.csv"
    same "$1/config.txt" "$2/config.txt"
    for png in "$2"/samples/*.png; do same "$1/samples/${png##*/}" "$png"; done
    [ "$(awk -F, 'NR > 1 && $1 == NR - 1' "$1/log.csv" | wc -l)" -eq 12 ] || fail "$1/log.csv has rows 1 to 12, in order"
    [ "$(wc -l <"$1/log.csv")" -eq 13 ] || fail "$1/log.csv has 12 rows"
    for left in "$1"/*.tmp-* "$1"/samples/*.tmp-*; do [ ! -e "$left" ] || fail "$left is gone"; done
}

# An iteration takes some 50 ms: time enough to be killed in the middle. 12 turns of 16 push 192 samples, so both buffers wrap.
common="batch=16 steps=12 iterations=12 checkpoint_every=4 sample_every=6 seed=7 data_noise=0.02 nn_set=20 nn_min_buffer=16
        w_ent=0.3 restart_prob=0.1"
fifo="--config small.txt --set $common buffer=fifo buffer_store=float buffer_size=100 noise_order=after crop_min=0.5 flip=0.5
      blur_prob=0.5 elastic=1 beta1=0.5"
reservoir="--config small.txt --set $common buffer=reservoir buffer_store=uint8 buffer_size=60 classes=10 backprop_steps=2
      nn_augment=on crop_min=0.8 kl_sign=-1 noise_order=before clamp=on"
cat >small.txt <<END
preset = code-mnist          # and a net with an eighth of the work
arch = conv 2 5 2 2 | swish | res 4 | down 4 | flatten | dense 1
data = digits:100
END

for kind in fifo reservoir; do
    eval "arguments=\$$kind"
    $EXE train $arguments --out $kind >$kind.out 2>$kind.err || { fail "$kind runs"; cat $kind.err; }
    [ "$(tail -n 1 $kind/log.csv | cut -d, -f12)" -eq 20 ] || fail "L_ent is active in $kind"

    start $kind-killed 7 $arguments;               end KILL 137
    [ "$(rows $kind-killed)" -lt 13 ] || fail "$kind-killed was killed before its end"
    start $kind-killed 10 --resume;                end KILL 137
    finish $kind-killed
    compare $kind-killed $kind

    start $kind-stopped 3 $arguments;              end INT 130
    grep -q '^icd: stopped and saved at iteration [0-9]*; `icd train --resume --out .*` goes on$' $kind-stopped.err \
        || fail "$kind-stopped says that it stopped and saved"
    start $kind-stopped 8 --resume;                end TERM 130
    finish $kind-stopped
    compare $kind-stopped $kind
done

# Ctrl-C before the first iteration is over: that iteration is done and saved.
start first 1 $fifo
end INT 130
[ "$(rows first)" -eq 2 ] && $EXE info first/checkpoint.safetensors | grep -q '^iteration  *1$' \
    || fail "a Ctrl-C in the first iteration saves the first iteration"
finish first
compare first fifo

# Killed again and again while each iteration writes a checkpoint: the file always loads.
turns="--config small.txt --set batch=8 steps=2 iterations=60 checkpoint_every=1 sample_every=0 nn_set=8 nn_min_buffer=0"
$EXE train $turns --out every >every.out 2>&1 || fail "a run that saves each iteration"
again=$turns killed=0 tries=0
while [ $tries -lt 20 ]; do
    tries=$((tries + 1))
    $EXE train $again --out loop >>loop.out 2>>loop.err &
    child=$!
    # In the middle of a write where that can be seen; every third time a few rows later.
    from=$(rows loop)
    while kill -0 $child 2>/dev/null; do
        set -- loop/checkpoint.safetensors.tmp-*
        if [ $((tries % 3)) -eq 0 ]; then [ "$(rows loop)" -le $((from + 2)) ] || break; else [ ! -e "$1" ] || break; fi
    done
    kill -9 $child 2>/dev/null
    wait $child 2>/dev/null
    rc=$?
    child=
    [ $rc -eq 137 ] || break
    killed=$((killed + 1))
    if [ -f loop/checkpoint.safetensors ]; then
        $EXE info loop/checkpoint.safetensors >info.out 2>&1 || fail "the checkpoint loads after kill $killed: $(cat info.out)"
        again=--resume
    else
        rm -rf loop
    fi
done
[ $killed -ge 3 ] || fail "the run could be killed three times: $killed"
[ $rc -eq 0 ] || finish loop
same loop/checkpoint.safetensors every/checkpoint.safetensors
same loop/log.csv every/log.csv
[ -z "$(ls -d loop/*.tmp-* 2>/dev/null)" ] || fail "a resumed run sweeps up what killed ones left"

# Threads: the same bits; only the setting itself differs.
for kind in fifo reservoir; do
    eval "arguments=\$$kind"
    for n in 1 2 3; do
        $EXE train $arguments threads=$n --out $kind-$n >/dev/null 2>&1 || fail "$kind on $n threads"
        tensors $kind-$n/checkpoint.safetensors >$kind-$n.bits
        same $kind-$n/log.csv $kind/log.csv
    done
    tensors $kind/checkpoint.safetensors >$kind.bits
    [ "$(wc -c <$kind.bits)" -gt 10000 ] || fail "$kind has tensors"
    for n in 1 2 3; do same $kind-$n.bits $kind.bits; done
done

# config.txt says the whole run.
$EXE train --config fifo/config.txt --out config >/dev/null 2>&1 || fail "a run from config.txt"
compare config fifo

# Resumed for more: as if the larger number had been asked for at first, and config.txt says so.
$EXE train $reservoir iterations=8 --out more >/dev/null 2>&1 || fail "8 iterations"
finish more --set iterations=12
compare more reservoir

# Doubles go on in doubles.
$EXE train $fifo iterations=3 --engine ref64 --out double >/dev/null 2>&1 || fail "a run in doubles"
$EXE train $fifo iterations=2 --engine ref64 --out double-2 >/dev/null 2>&1 || fail "two iterations in doubles"
if $EXE train --resume --out double-2 --set iterations=3 >/dev/null 2>double.err; then fail "floats are refused"; fi
grep -q '^icd: .*--engine NAME$' double.err || fail "the refusal says what to do: $(cat double.err)"
finish double-2 --engine ref64 --set iterations=3
same double-2/checkpoint.safetensors double/checkpoint.safetensors
same double-2/log.csv double/log.csv

[ $bad -eq 0 ] && echo "every resumed run has the bytes of an uninterrupted one; $killed kills while checkpoints were written"
exit $((bad > 0))
