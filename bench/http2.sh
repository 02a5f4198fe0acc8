#!/usr/bin/env bash
# All numbers of GrpcLive next to others, as Markdown on stdout; how far it has come goes to stderr. A quarter of an hour.
#   bench/http2.sh           five rounds; for memory fewer, which hardly varies
#   bench/http2.sh --quick   one short round of each, which shows that all runs, and nothing else
set -euo pipefail
cd "$(dirname "$0")/.."

case "${1:-}" in
  --quick)
    rounds=(--rounds 1)
    load=(--seconds 0.5 --warmup 0.5) foreign=(--seconds 1 --warmup 1) path=(--seconds 1 --warmup 1)
    bulk=(--mib 64 --warmup 16) slow=(--mib 64 --slow 2) connections=200 calls=1000
    ;;
  "")
    rounds=(--rounds 5)
    load=(--seconds 1.2 --warmup 1.2) foreign=(--seconds 1.5 --warmup 1.5) path=(--seconds 1.5 --warmup 2.5)
    bulk=(--mib 256 --warmup 64) slow=(--mib 1024 --slow 4) connections=10000 calls=10000
    ;;
  *)
    sed -n '2,4s/^# *//p' "$0"
    exit 1
    ;;
esac

section() {
  printf '\n## %s\n\n' "$1"
  shift
  node --import tsx "$@"
}

ceilings=bare-h2,grpc-live,grpc-js-layer,nice-grpc,connect-node,tls-live

echo "Node $(node --version), $(nproc) cores, load $(cut -d ' ' -f 1 /proc/loadavg) before"
section "Unary calls" bench/main.ts --only "$ceilings" --baseline grpc-js,tls-live --inflight 1,64,1000 \
  --connections 0 --starts 0 "${rounds[@]}" "${load[@]}"
section "Our server and a client of others" bench/h2load.ts "${rounds[@]}" "${foreign[@]}"
section "Our client and a server of others" bench/foreign.ts "${rounds[@]}" "${foreign[@]}"
section "A long path" bench/longPath.ts "${rounds[@]}" "${path[@]}"
section "One large stream" bench/bulk.ts --only grpc-live,grpc-js,tls-live "${rounds[@]}" "${bulk[@]}"
section "A slow consumer" bench/backpressure.ts --only grpc-live "${slow[@]}"
section "Idle connections" bench/crowd.ts --only grpc-live,grpc-js-layer --rounds 1 --connections "$connections" --calls 0
section "Calls in flight" bench/crowd.ts --only grpc-live,grpc-js-layer --connections 0 --calls "$calls" "${rounds[@]}"
section "Start-up" bench/startUp.ts "${rounds[@]}"
printf '\nload %s after\n' "$(cut -d ' ' -f 1 /proc/loadavg)"
