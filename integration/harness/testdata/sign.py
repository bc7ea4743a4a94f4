# Signs the message on stdin with python3-dkim: sign.py DOMAIN SELECTOR KEYFILE ALGORITHM
import sys

import dkim

domain, selector, path, algorithm = sys.argv[1:]
message = sys.stdin.buffer.read()
with open(path, "rb") as f:
    key = f.read()
signature = dkim.sign(
    message, selector.encode(), domain.encode(), key,
    canonicalize=(b"relaxed", b"relaxed"), signature_algorithm=algorithm.encode())
sys.stdout.buffer.write(signature + message)
