#!/usr/bin/env bash
# What Prometheus's own tool says of serve: promtool check metrics of an answer, and
# check web-config of a file that serve takes. PROMTOOL=FILE is a promtool that is there
# already; without it, Debian's package is unpacked into a temporary directory.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap '[ -z "${server:-}" ] || kill "$server" 2>/dev/null || true; rm -rf "$work"' EXIT
promtool=${PROMTOOL:-$work/promtool}
if [ ! -x "$promtool" ]; then
  (cd "$work" && apt-get download -o APT::Sandbox::User=root prometheus >&2 && dpkg -x prometheus_*.deb package)
  promtool=$work/package/usr/bin/promtool
fi
go build -o "$work/overlaydiff" ./cmd/overlaydiff

store=$work/root/home/u/.local/share/containers/storage
mkdir -p "$store"/{overlay-containers,overlay-layers,overlay/l/diff,overlay/l/empty} "$work/root/etc"
printf '[{"id":"c","names":["we\\u001b\\"b"],"layer":"l"}]' >"$store/overlay-containers/containers.json"
echo '[{"id":"l"}]' >"$store/overlay-layers/layers.json"
echo 'u:x:1000:1000::/home/u:/bin/sh' >"$work/root/etc/passwd"
chown -R 1000 "$work/root/home/u"

# The password is "secret".
printf 'basic_auth_users:\n  u: %s\n' '$2a$04$Pyuj6.BsZFQaov4kSLW/Ue0a4llzS3K4le/OHLAXPPT7yEsHpGr7.' >"$work/web.yml"
"$promtool" check web-config "$work/web.yml"

"$work/overlaydiff" serve --metrics 127.0.0.1:0 --root "$work/root" --web.config.file "$work/web.yml" 2>"$work/err" &
server=$!
until address=$(sed -n 's|^overlaydiff: [^/]*//||p' "$work/err") && [ -n "$address" ]; do sleep 0.1; done
curl -fsS --retry 10 -u u:secret "http://$address" >"$work/metrics"
grep '^overlaydiff_container_size_rw_bytes{.*id="u/c"' "$work/metrics"
"$promtool" check metrics <"$work/metrics"
[ "$(curl -s -o /dev/null -w '%{http_code}' "http://$address")" = 401 ]
"$promtool" check rules contrib/kubernetes/alerts.yaml
echo "promtool has nothing to say"
