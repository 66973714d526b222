#!/usr/bin/env bash
# Gates a model in continuous integration: assess a plan, compare with the last release, leave reports for the server.
#   gate.sh PLAN RUN [PREVIOUS]
# PLAN has a `gate:`; RUN is the run's folder; PREVIOUS the last release's, left out on the first release.
# Exit code 0: every gate passed. 1: a gate did not; the reports are written. Anything else: there is no answer.
set -euo pipefail
plan=${1:?usage: gate.sh PLAN RUN [PREVIOUS]} run=${2:?usage: gate.sh PLAN RUN [PREVIOUS]} previous=${3:-}

passed=0
radproof assess "$plan" --out "$run" || passed=$?
[ "$passed" -le 1 ] || exit "$passed"

if [ -n "$previous" ] && [ -f "$previous/result.json" ]; then
  radproof compare "$run" "$previous" --markdown "$run/comparison.md"
fi
# GitHub shows what is written there on the job's page; elsewhere it goes into the log.
if [ -n "${GITHUB_STEP_SUMMARY:-}" ]; then cat "$run/summary.md" >>"$GITHUB_STEP_SUMMARY"; else cat "$run/summary.md"; fi
exit "$passed"
