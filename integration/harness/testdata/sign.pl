# Signs the message on stdin with Mail::DKIM: sign.pl DOMAIN SELECTOR KEYFILE EXPIRATION
# (Unix time, 0: none). The message must have CRLF at its line ends.
use strict;
use warnings;
use Mail::DKIM::Signer;
use Mail::DKIM::Signature;

my ($domain, $selector, $path, $expiration) = @ARGV;
my $signer = Mail::DKIM::Signer->new(
    Policy => sub {
        my $dkim = shift;
        $dkim->add_signature(Mail::DKIM::Signature->new(
            Algorithm => 'rsa-sha256', Method => 'relaxed/simple',
            Headers => $dkim->headers, Domain => $domain, Selector => $selector,
            $expiration ? (Timestamp => $expiration - 3600, Expiration => $expiration) : (),
        ));
        return;
    },
    KeyFile => $path,
);
local $/;
binmode STDIN;
binmode STDOUT;
my $message = <STDIN>;
$signer->PRINT($message);
$signer->CLOSE;
print join("\r\n", map { $_->as_string } $signer->signatures), "\r\n", $message;
