# Prints what authres (Debian's python3-authres) reads in the Authentication-Results fields of the message on stdin: a result a line.
import sys
from email import message_from_binary_file
from authres import AuthenticationResultsHeader

for value in message_from_binary_file(sys.stdin.buffer).get_all('Authentication-Results', []):
    field = AuthenticationResultsHeader.parse('Authentication-Results: ' + value)
    for result in field.results:
        properties = ['%s.%s=%s' % (p.type, p.name, p.value) for p in result.properties]
        print(' '.join([field.authserv_id, '%s=%s' % (result.method, result.result)] + properties))
