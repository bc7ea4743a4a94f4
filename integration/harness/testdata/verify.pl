# Verifies the message on stdin with Mail::DKIM, asking the DNS server in the
# arguments: verify.pl HOST PORT. One line a signature: RESULT DOMAIN ALGORITHM.
use strict;
use warnings;
use Mail::DKIM::Verifier;
use Mail::DKIM::DNS;
use Net::DNS;

my ($host, $port) = @ARGV;
Mail::DKIM::DNS::resolver(
    Net::DNS::Resolver->new(nameservers => [$host], port => $port, recurse => 1));
my $verifier = Mail::DKIM::Verifier->new;
local $/;
binmode STDIN;
$verifier->PRINT(scalar <STDIN>);
$verifier->CLOSE;
for my $signature ($verifier->signatures) {
    print join(' ', $signature->result, $signature->domain, $signature->algorithm,
        $signature->result_detail), "\n";
}
