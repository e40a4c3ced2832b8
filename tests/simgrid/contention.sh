#!/usr/bin/env bash
# Writes the rows of migsim/data/simgrid-contention.csv: equal guests that share 1 Gbit/s, all
# started together or 10 s apart.
set -euo pipefail
program=$(mktemp)
trap 'rm -f "$program"' EXIT
g++ -O1 -std=c++17 -o "$program" "$(dirname "$0")/contention.cpp" -lsimgrid
echo guests,number,memory,working_set,dirty_rate,bandwidth,latency,interval,seconds,downtime,all_sent
gib=$((1 << 30))
for interval in 0 10; do
    for guests in 1 2 4 8; do # 10 MB/s in 90 % of the memory
        "$program" $guests $((4 * gib)) $((4 * gib * 9 / 10)) 10e6 125e6 50e-6 $interval
    done
    "$program" 4 $((4 * gib)) $((4 * gib * 9 / 10)) 0 125e6 50e-6 $interval
    "$program" 4 $((4 * gib)) $((4 * gib * 9 / 10)) 25e6 125e6 50e-6 $interval
done
