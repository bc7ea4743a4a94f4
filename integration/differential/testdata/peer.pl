# Mail::DKIM as a peer. One request a line on stdin, one answer a line on stdout; all
# but the verbs is base64.
#   verify MESSAGE NOW [NAME RECORD]...   -> RESULT:DETAIL:B for each signature, top first
#   sign MESSAGE DOMAIN SELECTOR KEY METHOD NAMES IDENTITY EXPIRATION -> the field, in base64
# A RECORD of "!" is a server that fails.
use strict;
use warnings;
no warnings 'once';

my $clock;
BEGIN { *CORE::GLOBAL::time = sub { $clock || CORE::time() }; }

use MIME::Base64;
use Mail::DKIM::Verifier;
use Mail::DKIM::Signer;
use Mail::DKIM::Signature;
use Mail::DKIM::PrivateKey;
use Mail::DKIM::DNS;

package Record;
sub new     { my ($class, $text) = @_; return bless { text => $text }, $class }
sub type    { return 'TXT' }
sub txtdata { return ( $_[0]{text} ) }

package main;

my %records;
{
    no warnings 'redefine';
    *Mail::DKIM::DNS::query = sub {
        my ($name) = @_;
        $name =~ s/\.$//;
        my $found = $records{ lc $name };
        if ( !$found ) { $@ = 'NXDOMAIN'; return; }
        die "DNS error: SERVFAIL\n" if $found->[0] eq '!';
        return map { Record->new($_) } @$found;
    };
}

sub verify {
    my ( $message, $now, @rest ) = @_;
    $clock   = $now;
    %records = ();
    while ( my ( $name, $record ) = splice @rest, 0, 2 ) {
        push @{ $records{ lc $name } }, $record;
    }
    my $verifier = Mail::DKIM::Verifier->new( Strict => 1 );
    $verifier->PRINT($message);
    $verifier->CLOSE;
    my @words;
    for my $s ( $verifier->signatures ) {
        my $detail = $s->result_detail // '';
        $detail =~ s/[^A-Za-z0-9()=,.+-]/_/g;
        my $b = $s->data // '';
        $b =~ s/\s//g;
        push @words, join ':', $s->result // 'none', $detail, $b;
    }
    return join ' ', @words;
}

sub sign {
    my ( $message, $domain, $selector, $key, $method, $names, $identity, $expiration ) = @_;
    $clock = 0;
    $key =~ s/-----[^-]+-----|\s//g;
    my $signer = Mail::DKIM::Signer->new(
        Policy => sub {
            my $dkim = shift;
            $dkim->add_signature( Mail::DKIM::Signature->new(
                Algorithm => 'rsa-sha256', Method => $method, Headers => $names,
                Domain => $domain, Selector => $selector,
                $identity   ? ( Identity => $identity ) : (),
                $expiration ? ( Timestamp => $expiration - 3600, Expiration => $expiration ) : (),
            ) );
            return;
        },
        Key => Mail::DKIM::PrivateKey->load( Data => $key ),
    );
    $signer->PRINT($message);
    $signer->CLOSE;
    return encode_base64( join( "\r\n", map { $_->as_string } $signer->signatures ) . "\r\n", '' );
}

$| = 1;
while ( my $line = <STDIN> ) {
    chomp $line;
    my ( $verb, @args ) = split / /, $line, -1;
    @args = map { decode_base64($_) } @args;
    my $answer = eval { $verb eq 'verify' ? verify(@args) : sign(@args) };
    if ( !defined $answer ) {
        $answer = "error:$@";
        $answer =~ s/[^A-Za-z0-9():]/_/g;
    }
    print "$answer\n";
}
