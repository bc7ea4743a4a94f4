# Verifies every DKIM signature of the message on stdin with python3-dkim, asking
# the DNS server in the arguments: verify.py HOST PORT. One line a signature:
# pass|fail DOMAIN ALGORITHM.
import sys

import dkim
import dns.resolver

resolver = dns.resolver.Resolver(configure=False)
resolver.nameservers = [sys.argv[1]]
resolver.port = int(sys.argv[2])


def txt(name, timeout=5):
    try:
        answer = resolver.resolve(name.decode(), "TXT")
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return None
    return b"".join(answer[0].strings)


message = sys.stdin.buffer.read()
verifier = dkim.DKIM(message)
count = sum(1 for name, _ in verifier.headers if name.lower() == b"dkim-signature")
for i in range(count):
    verifier = dkim.DKIM(message)
    try:
        good = verifier.verify(idx=i, dnsfunc=txt)
        why = ""
    except dkim.DKIMException as e:
        good, why = False, repr(e)
    fields = verifier.signature_fields
    print("pass" if good else "fail", fields.get(b"d", b"?").decode(), fields.get(b"a", b"?").decode(), why)
