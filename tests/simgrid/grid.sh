#!/usr/bin/env bash
# Writes the rows of migsim/data/simgrid.csv: a grid over 1 Gbit/s, and what else the rule knows.
set -euo pipefail
program=$(mktemp)
trap 'rm -f "$program"' EXIT
g++ -O1 -std=c++17 -o "$program" "$(dirname "$0")/../../migsim/bench/src/migrate.cpp" -lsimgrid
echo memory,working_set,dirty_rate,bandwidth,latency,link,speed,seconds,downtime,sent,messages
gib=$((1 << 30))
for memory in 1 2 4 8 16; do
    for rate in 0 10 25 50 75 90 100; do # MB/s, in 90 % of the memory
        "$program" $((memory * gib)) $((memory * gib * 9 / 10)) ${rate}e6 125e6 50e-6 split 1e9
    done
done
for link in split shared; do # latency, acknowledgements on the same link, small working sets, a speed
    "$program" $((4 * gib)) $((4 * gib * 9 / 10)) 50e6 125e6 500e-6 "$link" 1e9
    "$program" $((4 * gib)) $((4 * gib * 9 / 10)) 0 125e6 50e-3 "$link" 1e9
    "$program" $((4 * gib)) 3000000 200e6 125e6 10e-6 "$link" 1e9
    "$program" $((4 * gib)) $((4 * gib * 9 / 10)) 10e6 125e6 50e-6 "$link" 40e6
done
