#!/usr/bin/env bash
# Pin the third-party images of the deployment by digest: scripts/pin_images.sh --help
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/usage.sh
source scripts/usage.sh

usage() { # print the usage
    cat <<'END'
Usage: scripts/pin_images.sh

Asks the registry for the current digest of every third-party image that the deployment runs or builds from, and
writes them to images.env. scripts/deploy.sh then uses these digests even if the tags move. Run this script again to
take newer images. Requires Docker with buildx, and access to the registry.

-h, --help   print this text

IMAGES_FILE  the file to write (default: images.env in the checkout)

Exit codes: 0 written, 1 failed, and the file is unchanged, 2 wrong usage
END
}

answer_help "$@"
expect_none "$@"
file=${IMAGES_FILE:-images.env}

fail() { # fail MESSAGE
    printf '%s: %s\n' "${0##*/}" "$1" >&2
    exit 1
}

images() { # print each image variable and its default, from the Dockerfile and the stack files
    sed -n 's/^ARG \(PYTHON_IMAGE\)=\(.*\)/\1 \2/p' Dockerfile
    sed -n 's/.*image: ${\([A-Z_]*_IMAGE\):-\(.*\)}$/\1 \2/p' stack.yml deploy/stack.monitoring.yml
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
