# merge.py FROM READER...: one line a From field, with the libraries that show an address of gmail.com.
import json
import re
import sys


def shown(address):
    """Whether an address is one of gmail.com: outside quoted strings."""
    return re.search(r"@gmail\.com(?![a-z0-9.-])", re.sub(r'"(\\.|[^"\\])*"', "Q", address or ""), re.I)


for line, *answers in zip(*map(open, sys.argv[1:])):
    value, who = json.loads(line), set()
    for answer in answers:
        for reader, addresses in json.loads(answer).items():
            # Python splits a decoded name with an "@" in it off the address in angle brackets: good mail has such names.
            if reader == "python getaddresses, decoded first" and "<" in value:
                continue
            if any(shown(a) for a in addresses):
                who.add(reader)
    print(json.dumps({"from": value, "gmail.com": sorted(who)}))
