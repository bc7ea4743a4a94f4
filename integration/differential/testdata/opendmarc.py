# libopendmarc as a peer, in the protocol of dmarc.pl. It keeps the records that it is told, so each case has names of its own.
import base64
import ctypes
import sys

lib = ctypes.CDLL("libopendmarc.so.2")
lib.opendmarc_policy_connect_init.restype = ctypes.c_void_p
lib.opendmarc_policy_connect_init.argtypes = [ctypes.c_char_p, ctypes.c_int]
lib.opendmarc_policy_connect_shutdown.argtypes = [ctypes.c_void_p]
lib.opendmarc_policy_connect_shutdown.restype = ctypes.c_void_p
lib.opendmarc_policy_store_from_domain.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
lib.opendmarc_policy_store_dkim.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p]
lib.opendmarc_policy_store_spf.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_int, ctypes.c_char_p]
lib.opendmarc_policy_query_dmarc.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
lib.opendmarc_get_policy_to_enforce.argtypes = [ctypes.c_void_p]
if lib.opendmarc_tld_read_file(b"/usr/share/publicsuffix/effective_tld_names.dat", b"//", b"*.", b"!") != 0:
    sys.exit("no public suffix list")

PASSED, FAILED, MAILFROM, OKAY, NO_RECORD = 1, 2, 1, 0, 9
WORDS = {14: "none none", 15: "pass none", 16: "fail reject", 17: "fail quarantine", 18: "fail none"}

# Without any such record the library asks the real DNS.
lib.opendmarc_dns_fake_record(b"_dmarc.invalid", b"v=DMARC1; p=none")
kept = []  # the library has the texts from us
for number, line in enumerate(sys.stdin):
    arguments = [base64.b64decode(a) for a in line.rstrip("\n").split(" ")[1:]]
    own = b"e%d" % number
    author, dkim, spf = [a.replace(b"example", own) for a in arguments[:3]]
    for name, text in zip(arguments[3::2], arguments[4::2]):
        kept += [name.replace(b"example", own), text]
        lib.opendmarc_dns_fake_record(kept[-2], kept[-1])
    context = lib.opendmarc_policy_connect_init(b"192.0.2.1", 4)
    lib.opendmarc_policy_store_from_domain(context, author)
    if dkim:
        lib.opendmarc_policy_store_dkim(context, dkim, b"s", PASSED, b"")
    lib.opendmarc_policy_store_spf(context, spf or b"nobody.invalid", PASSED if spf else FAILED, MAILFROM, b"")
    status = lib.opendmarc_policy_query_dmarc(context, author)
    if status == OKAY:
        answer = WORDS.get(lib.opendmarc_get_policy_to_enforce(context), "error")
    else:
        answer = "none none" if status == NO_RECORD else "error %d" % status
    lib.opendmarc_policy_connect_shutdown(context)
    print(answer, flush=True)
