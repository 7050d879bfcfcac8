#!/app/bin/python
"""Make a token with a key that cannot be extracted, and print a keyring file with a slot of it.

`PKCS11_PIN` is the PIN. The token's label is `sm`, and the key's `kek-1`.
"""

import os
import subprocess
import sys
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory

import pkcs11
from pkcs11 import Attribute, KeyType

_KEPT = {Attribute.EXTRACTABLE: False, Attribute.SENSITIVE: True}
_SLOT = "hsm=pkcs11,pkcs11:token=sm;object=kek-1"

# Other processes can see the PINs in a command line, so both are changed.
first, other = token_hex(8), token_hex(8)
make = ("softhsm2-util", "--init-token", "--free", "--label", "sm", "--pin", first, "--so-pin", other)
subprocess.run(make, check=True, stdout=sys.stderr)
token = pkcs11.lib(os.environ["PKCS11_MODULE"]).get_token(token_label="sm")
with token.open(rw=True, so_pin=other) as session:
    session.set_pin(other, token_hex(8))
with token.open(rw=True, user_pin=first) as session:
    session.set_pin(first, os.environ["PKCS11_PIN"])
    session.generate_key(KeyType.AES, 256, label="kek-1", store=True, template=_KEPT)
with TemporaryDirectory() as folder:
    file = Path(folder, "keyring.json")
    init = ("secret-manager", "keys", "custody", "init", str(file), "--slot", _SLOT)
    subprocess.run(init, check=True, stdout=sys.stderr)
    sys.stdout.write(file.read_text())
