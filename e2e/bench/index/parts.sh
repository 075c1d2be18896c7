# shellcheck shell=bash
# What is measured. Sourced by run.

# push_digests TAG: the index of the two images that the registry has.
push_digests() {
  "$ARCHFAN" index push "${ACCESS[@]}" "$REGISTRY/bench/app:$1" \
    "linux/amd64=docker://$REGISTRY/bench/app@$(cat "$WORK/amd64.digest")" \
    "linux/arm64=docker://$REGISTRY/bench/app@$(cat "$WORK/arm64.digest")"
}

crane_digests() {
  "$CRANE" index append --insecure -t "$REGISTRY/bench/app:$1" \
    -m "$REGISTRY/bench/app@$(cat "$WORK/amd64.digest")" -m "$REGISTRY/bench/app@$(cat "$WORK/arm64.digest")"
}

buildah_digests() {
  local list=bench-$1
  buildah "${STORAGE[@]}" manifest create "$list"
  buildah "${STORAGE[@]}" manifest add --tls-verify=false "$list" "docker://$REGISTRY/bench/app@$(cat "$WORK/amd64.digest")"
  buildah "${STORAGE[@]}" manifest add --tls-verify=false "$list" "docker://$REGISTRY/bench/app@$(cat "$WORK/arm64.digest")"
  buildah "${STORAGE[@]}" manifest push --tls-verify=false "$list" "docker://$REGISTRY/bench/app:$1"
}

push_archives() {
  "$ARCHFAN" index push --insecure "$REGISTRY/$1:v1" "linux/amd64=oci-archive:$WORK/amd64.tar$2" \
    "linux/arm64=oci-archive:$WORK/arm64.tar$2"
}

# raw_upload NAME: the layers alone, by one PUT each, from files: what any tool must send at least.
raw_upload() {
  local arch layer place
  for arch in amd64 arm64; do
    layer=$(cat "$WORK/$arch.layer")
    place=$(curl -sf -X POST -o /dev/null -w '%header{location}' "http://$REGISTRY/v2/$1/blobs/uploads/")
    curl -sf -H 'Expect:' -T "$WORK/layout-$arch/blobs/sha256/$layer" "$place&digest=sha256:$layer"
  done
}

buildah_archives() {
  local arch id list=bench-$1
  buildah "${STORAGE[@]}" manifest create "$list"
  for arch in amd64 arm64; do
    id=$(buildah "${STORAGE[@]}" pull -q --arch "$arch" "oci-archive:$WORK/$arch.tar")
    buildah "${STORAGE[@]}" manifest add --arch "$arch" "$list" "$id"
  done
  buildah "${STORAGE[@]}" manifest push --all --tls-verify=false "$list" "docker://$REGISTRY/$1:v1"
}
export -f push_digests crane_digests buildah_digests push_archives raw_upload buildah_archives

# call FUNCTION ARGUMENT...: a command for `measure`, which can only run programs.
call() {
  declare -p WORK REGISTRY ARCHFAN CRANE STORAGE ACCESS >"$WORK/env" 2>/dev/null
  # shellcheck disable=SC2016 # expanded by the shell that is started
  CALL=(bash -euo pipefail -c 'source "$0"; "$@"' "$WORK/env" "$@")
}

storage() { STORAGE=(--root "$WORK/storage/root" --runroot "$WORK/storage/run"); }

fill_registry() {
  local arch
  for arch in amd64 arm64; do
    skopeo copy -q --preserve-digests --dest-tls-verify=false "oci-archive:$WORK/$arch.tar" "docker://$REGISTRY/bench/app:$arch"
  done
}

part_digests() {
  local n
  ACCESS=(--insecure)
  storage
  image amd64 1
  image arm64 1
  registry_start "$NEAR"
  fill_registry
  forget
  for n in $(seq 0 "$QUICK_RUNS"); do
    say "digests $n of $QUICK_RUNS"
    call push_digests "a$n" && measure archfan "${CALL[@]}"
    call crane_digests "c$n" && measure crane "${CALL[@]}"
    call buildah_digests "b$n" && measure buildah "${CALL[@]}"
    # The first warms the caches.
    ((n > 0)) || forget
  done
  echo
  echo "### From digests: two images in the registry, loopback, plain HTTP ($QUICK_RUNS runs in turns)"
  echo
  echo "| | ms, min / median / max | of crane's median | memory, MB |"
  echo "|---|---|---|---|"
  row archfan 10 'archfan index push' crane
  row crane 10 'crane index append' crane
  row buildah 10 'buildah manifest create, add, add, push' crane
  echo
  echo "archfan takes $(ratio archfan buildah) of buildah's time. A shell that starts each program is part of all figures."
}

# part_shaped: the same at a round trip of 50 ms, by a proxy that holds everything back (delay.rs). Opening a connection costs one
# round trip, and TLS another.
part_shaped() {
  local n kind
  ACCESS=(--insecure)
  storage
  image amd64 1
  image arm64 1
  rustc --edition 2024 -O -o "$WORK/delay" "$HERE/delay.rs"
  "$WORK/delay" "$FAR" "$NEAR" 50 &
  DELAY_PIDS+=("$!")
  # The same proxy without a delay: what is left when its time is taken off is the network's.
  "$WORK/delay" "$NEXT" "$NEAR" 0 &
  DELAY_PIDS+=("$!")
  echo
  echo "### From digests at a round trip of 50 ms ($RUNS runs in turns)"
  echo
  echo "| | ms, min / median / max | the same without the delay | round trips in sequence |"
  echo "|---|---|---|---|"
  certificates
  for kind in plain tls basic; do
    shaped_registry "$kind"
    forget
    for n in $(seq "$RUNS"); do
      REGISTRY=$FAR && call push_digests "a$n" && measure archfan "${CALL[@]}"
      REGISTRY=$NEXT && call push_digests "z$n" && measure archfan-near "${CALL[@]}"
      [[ $kind == plain ]] || continue
      REGISTRY=$FAR && call crane_digests "c$n" && measure crane "${CALL[@]}"
      REGISTRY=$NEXT && call crane_digests "d$n" && measure crane-near "${CALL[@]}"
    done
    shaped_row archfan "archfan, $kind"
    [[ $kind != plain ]] || shaped_row crane "crane, $kind"
  done
  registry_stop
}

shaped_row() {
  local trips
  trips=$(awk -v far="$(middle "$WORK/$1.times")" -v near="$(middle "$WORK/$1-near.times")" 'BEGIN {printf "%.1f", (far - near) / 500}')
  echo "| $2 | $(spread "$WORK/$1.times" 10) | $(spread "$WORK/$1-near.times" 10) | $trips |"
}

certificates() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=bench \
    -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=CA:FALSE -keyout "$WORK/tls.key" -out "$WORK/tls.crt" 2>/dev/null
  htpasswd -Bbn -C 4 bench bench >"$WORK/htpasswd"
  printf '{"auths":{"%s":{"auth":"%s"},"%s":{"auth":"%s"}}}' "$FAR" "$(printf bench:bench | base64)" "$NEXT" "$(printf bench:bench | base64)" >"$WORK/auth.json"
}

shaped_registry() {
  local tls="  tls: {certificate: $WORK/tls.crt, key: $WORK/tls.key}"
  local auth="auth: {htpasswd: {realm: bench, path: $WORK/htpasswd}}"
  # The images are pushed without TLS, and stay in the store.
  registry_start "$NEAR"
  fill_registry
  case $1 in
    plain) ;;
    tls) registry_stop && registry_resume "$NEAR" "$tls" ;;
    basic) registry_stop && registry_resume "$NEAR" "$tls" "$auth" ;;
  esac
  [[ $1 == plain ]] || ACCESS=(--ca "$WORK/tls.crt" --authfile "$WORK/auth.json")
  REGISTRY=$FAR
}

part_archives() {
  local n
  ACCESS=(--insecure)
  storage
  image amd64 "$SIZE"
  image arm64 "$SIZE"
  forget
  for n in $(seq "$RUNS"); do
    say "archives $n of $RUNS"
    # An empty store each time, or nothing would be sent.
    registry_start "$NEAR"
    call raw_upload "raw$n" && measure raw "${CALL[@]}"
    registry_start "$NEAR"
    call push_archives "archfan$n" '' && measure archfan "${CALL[@]}"
    registry_start "$NEAR"
    rm -rf "$WORK/storage"
    call buildah_archives "buildah$n" && measure buildah "${CALL[@]}"
    rm -rf "$WORK/storage"
  done
  registry_stop
  echo
  echo "### From archives: 2 × $SIZE MB that do not compress, loopback, plain HTTP ($RUNS runs in turns)"
  echo
  echo "| | ms, min / median / max | of the raw upload's median | memory, MB |"
  echo "|---|---|---|---|"
  row raw 10 'raw upload of the layers (curl -T)' raw
  row archfan 10 'archfan index push oci-archive:' raw
  row buildah 10 'buildah manifest create, pull and add twice, push --all' raw
  echo
  echo "archfan takes $(ratio archfan buildah) of buildah's time."
}

part_memory() {
  local kind
  ACCESS=(--insecure)
  storage
  forget
  image amd64 "$HUGE"
  image arm64 1
  registry_start "$NEAR"
  call push_archives memory '' && measure plain "${CALL[@]}"
  registry_stop
  gzip -1 -f "$WORK/amd64.tar" "$WORK/arm64.tar"
  registry_start "$NEAR"
  call push_archives memory .gz && measure gzip "${CALL[@]}"
  registry_stop
  if command -v zstd >/dev/null; then
    gunzip -f "$WORK/amd64.tar.gz" "$WORK/arm64.tar.gz"
    zstd -q --rm "$WORK/amd64.tar" "$WORK/arm64.tar"
    registry_start "$NEAR"
    call push_archives memory .zst && measure zstd "${CALL[@]}"
    registry_stop
  fi
  echo
  echo "### Memory: one image of $HUGE MB and one of 1 MB"
  echo
  echo "| archive | largest memory, MB | s |"
  echo "|---|---|---|"
  for kind in plain gzip zstd; do
    [[ ! -f $WORK/$kind.memory ]] || echo "| $kind | $(spread "$WORK/$kind.memory" 1000) | $(spread "$WORK/$kind.times" 10000) |"
  done
}
