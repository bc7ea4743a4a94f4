# Reads From values, one JSON string a line, and writes what Python takes for the addresses.
import email
import email.header
import email.policy
import email.utils
import json
import sys


def addresses(read, value):
    try:
        return read(value)
    except Exception as error:  # a field that it does not read shows nothing
        return ["ERR " + repr(error)]


def field(value, policy):
    raw = ("From:" + value + "\r\n\r\nx").encode("utf-8", "surrogateescape")
    return email.message_from_bytes(raw, policy=policy)["From"]


def decoded(value):
    return str(email.header.make_header(email.header.decode_header(value.strip())))


READERS = {
    "python getaddresses": lambda v: [a for _, a in email.utils.getaddresses([str(field(v, email.policy.compat32))])],
    "python getaddresses, decoded first": lambda v: [a for _, a in email.utils.getaddresses([decoded(v)])],
    "python headerregistry": lambda v: [a.addr_spec for a in field(v, email.policy.default).addresses],
}
for line in sys.stdin:
    text = json.loads(line)
    print(json.dumps({name: addresses(read, text) for name, read in READERS.items()}))
