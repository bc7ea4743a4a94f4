# python3-dkim as a peer. One request a line on stdin, one answer a line on stdout; all
# but the verbs is base64.
#   verify MESSAGE NOW [NAME RECORD]...   -> a word for each signature, top first: pass, fail or error:TEXT
#   sign MESSAGE DOMAIN SELECTOR KEY ALGORITHM HEADERCANON BODYCANON NAMES IDENTITY LENGTH -> the field, in base64
# A RECORD of "!" is a server that fails.
import base64
import sys
import time

import dkim

clock = [0.0]
real = time.time
dkim.time.time = lambda: clock[0] or real()


def decode(s):
    return base64.b64decode(s)


def verify(args):
    message, clock[0] = decode(args[0]), float(decode(args[1]) or 0)
    records = {}
    for name, record in zip(args[2::2], args[3::2]):
        records.setdefault(decode(name).lower(), decode(record))

    def txt(name, timeout=5):
        record = records.get(name.rstrip(b".").lower())
        if record == b"!":
            raise dkim.DnsTimeoutError("server fails")
        return record

    try:
        count = sum(1 for name, _ in dkim.DKIM(message).headers if name.lower() == b"dkim-signature")
    except dkim.DKIMException as e:
        return ["error:" + repr(e)]
    words = []
    for i in range(count):
        try:
            words.append("pass" if dkim.DKIM(message, minkey=1024).verify(idx=i, dnsfunc=txt) else "fail")
        except Exception as e:  # a crash is an answer, too
            words.append("error:" + repr(e))
    return words


def sign(args):
    message, domain, selector, key, algorithm, header, body, names, identity, length = map(decode, args)
    d = dkim.DKIM(message, signature_algorithm=algorithm)
    field = d.sign(selector, domain, key, identity=identity or None, canonicalize=(header, body),
                   include_headers=names.split(b":"), length=length == b"1")
    return base64.b64encode(field).decode()


for line in sys.stdin:
    verb, *args = line.split(" ")
    args = [a.strip() for a in args]
    try:
        if verb == "verify":
            answer = " ".join(w.replace(" ", "_").replace("\n", "_") for w in verify(args))
        else:
            answer = sign(args)
    except Exception as e:
        answer = "error:" + repr(e).replace(" ", "_").replace("\n", "_")
    print(answer, flush=True)
