#!/usr/bin/env bash
# A campaign of `brownout crash` over machines that ssh reaches, by GNU parallel. Each machine needs the same brownout (BROWNOUT says
# where, unless it is in PATH) and Perl; nothing is copied there, and no folder is shared. A shard whose machine fails, or that is killed,
# is run again on another machine, three times at most. The exit code is that of `crash --merge`.
#
# usage: parallel.sh HOSTS SHARDS FOLDER ARGUMENTS...
#   HOSTS      file with a machine in each line, as parallel's --sshloginfile takes it; ":" is this machine
#   SHARDS     number of shards: at least that of machines, and at most one for each thousand cuts
#   FOLDER     for reports: shard-N/stdout of each shard, and campaign.json, .xml and .html of all
#   ARGUMENTS  of `brownout crash`, such as: --in-process --cuts 1000000 --seed 1 --keep-going
set -euo pipefail
hosts=$1 shards=$2 folder=$3
shift 3
brownout=${BROWNOUT:-brownout}
mkdir -p "$folder"

# One shard uses all processors of its machine. The report comes back as what the command prints, and says itself how the shard ended,
# so that a shard that found something illegal, which is code 1, is not run again.
shard="report=\$(mktemp) && trap 'rm -f \"\$report\"' EXIT
${brownout@Q} crash ${*@Q} --shard {}/$shards --json \"\$report\" >&2 </dev/null; code=\$?
cat \"\$report\"; [ \$code -le 1 ]"
parallel --sshloginfile "$hosts" --jobs 1 --retries 3 --results "$folder/shard-{}/" --joblog "$folder/jobs.log" "$shard" \
    ::: $(seq "$shards") >"$folder/output.log" 2>&1 </dev/null || true

mapfile -t reports < <(seq -f "$folder/shard-%.0f/stdout" "$shards")
exec "$brownout" crash --merge "${reports[@]}" --json "$folder/campaign.json" --junit "$folder/campaign.xml" --html "$folder/campaign.html"
