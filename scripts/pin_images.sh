#!/usr/bin/env bash
# Write images.env: the digest of every image that others publish and the deployment runs or builds from, as it is now in
# the registry. scripts/deploy.sh then uses these, whatever their tags become. Run it again to take newer images.
# Needs Docker with buildx, and access to the registry; IMAGES_FILE names another file.
set -euo pipefail
cd "$(dirname "$0")/.."
file=${IMAGES_FILE:-images.env}

fail() { # fail MESSAGE
    printf '%s: %s\n' "${0##*/}" "$1" >&2
    exit 1
}

images() { # print each variable and its default, from the files that have them
    sed -n 's/^ARG \(PYTHON_IMAGE\)=\(.*\)/\1 \2/p' Dockerfile
    sed -n 's/.*image: ${\([A-Z_]*_IMAGE\):-\(.*\)}$/\1 \2/p' stack.yml stack.monitoring.yml
}

pinned=
while read -r name image; do
    # Of the index, which holds the image of every platform.
    digest=$(docker buildx imagetools inspect "$image" --format '{{.Manifest.Digest}}') ||
        fail "the registry does not tell the digest of $image; $file is as it was"
    [[ $digest =~ ^sha256:[0-9a-f]{64}$ ]] || fail "the registry tells no digest of $image; $file is as it was"
    pinned+="$name=$image@$digest"$'\n'
done < <(images)
printf '%s' "$pinned" >"$file.new"
mv "$file.new" "$file"
cat "$file"
