#!/usr/bin/env bash
# Write images.env: the current digest of every third-party image that the deployment runs or builds from.
# scripts/deploy.sh then uses these digests even if the tags move. Run this script again to take newer images.
# Requires Docker with buildx, and access to the registry. IMAGES_FILE names another file.
set -euo pipefail
cd "$(dirname "$0")/.."
file=${IMAGES_FILE:-images.env}

fail() { # fail MESSAGE
    printf '%s: %s\n' "${0##*/}" "$1" >&2
    exit 1
}

images() { # print each image variable and its default, from the Dockerfile and the stack files
    sed -n 's/^ARG \(PYTHON_IMAGE\)=\(.*\)/\1 \2/p' Dockerfile
    sed -n 's/.*image: ${\([A-Z_]*_IMAGE\):-\(.*\)}$/\1 \2/p' stack.yml stack.monitoring.yml
}

pinned=
while read -r name image; do
    # The digest of the index, which lists the images of all platforms.
    digest=$(docker buildx imagetools inspect "$image" --format '{{.Manifest.Digest}}') ||
        fail "cannot read the digest of $image from the registry; $file is unchanged"
    [[ $digest =~ ^sha256:[0-9a-f]{64}$ ]] || fail "the registry returned no digest for $image; $file is unchanged"
    pinned+="$name=$image@$digest"$'\n'
done < <(images)
printf '%s' "$pinned" >"$file.new"
mv "$file.new" "$file"
cat "$file"
