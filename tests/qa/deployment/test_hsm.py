"""The image for HSMs, with the module of a software HSM on top."""

import json

import pytest

from tests.qa.deployment.engine import build, docker

pytestmark = pytest.mark.process

_BASE, _WITH_MODULE = "secret-manager:pkcs11", "secret-manager:softhsm"
_MODULE = f"""
FROM {_BASE}
USER 0
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends softhsm2 >/dev/null
USER 10001:10001
ENV SOFTHSM2_CONF=/dev/shm/softhsm2.conf PKCS11_MODULE=/usr/lib/softhsm/libsofthsm2.so PKCS11_PIN=1234
"""
#: Makes a token with a key, a keyring file with a slot of it, and opens that slot.
_USE = """
mkdir /dev/shm/tokens
echo 'directories.tokendir = /dev/shm/tokens' >"$SOFTHSM2_CONF"
softhsm2-util --init-token --free --label sm --pin 1234 --so-pin 1234 >/dev/null
python - <<'END'
import os
import pkcs11
token = pkcs11.lib(os.environ["PKCS11_MODULE"]).get_token(token_label="sm")
with token.open(rw=True, user_pin="1234") as session:
    session.generate_key(pkcs11.KeyType.AES, 256, label="kek-1", store=True)
END
export MASTER_KEYRING_FILE=/dev/shm/keyring.json
secret-manager keys custody init "$MASTER_KEYRING_FILE" --slot 'hsm=pkcs11,pkcs11:token=sm;object=kek-1' >&2
secret-manager keys custody check --json
"""


@pytest.mark.usefixtures("image")
def test_an_image_with_pkcs11_opens_a_key_in_an_hsm() -> None:
    """With `LOCK=pkcs11` and a module on top, `keys custody` wraps a master key and opens it again."""
    build(_BASE, lock="pkcs11")
    build(_WITH_MODULE, _MODULE)
    options = ("--rm", "--read-only", "--network", "none", "--entrypoint", "sh")
    slot = json.loads(docker("run", *options, _WITH_MODULE, "-ec", _USE))
    assert (slot["scheme"], slot["state"]) == ("pkcs11", "up")
