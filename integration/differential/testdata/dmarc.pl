# Mail::DMARC as a peer. One request a line on stdin, one answer a line on stdout; the arguments are base64.
#   judge AUTHOR DKIM SPF [NAME RECORD]...   -> RESULT DISPOSITION; DKIM and SPF are domains that passed, or empty
# Every name exists; those without a record have no TXT.
use strict;
use warnings;
use MIME::Base64;
use Net::DNS;
use Mail::DMARC::PurePerl;

my %records;

package Server;
sub new { return bless {}, shift }

sub send {
    my ( undef, $name, $type ) = @_;
    my $packet = Net::DNS::Packet->new( $name, $type );
    if ( $type eq 'TXT' && exists $records{ lc $name } ) {
        $packet->push( answer => Net::DNS::RR->new( owner => $name, type => 'TXT', txtdata => [ $records{ lc $name } ] ) );
    }
    $packet->push( answer => Net::DNS::RR->new("$name A 192.0.2.1") ) if $type eq 'A';
    return $packet;
}
sub query { return Server::send(@_) }

package main;

$| = 1;
while ( my $line = <STDIN> ) {
    my ( undef, @arguments ) = split / /, $line, -1;
    my ( $author, $dkim, $spf, @zone ) = map { decode_base64($_) } @arguments;
    %records = @zone;
    my $dmarc = Mail::DMARC::PurePerl->new;
    $dmarc->config->{report_store}{auto_save} = 0;
    $dmarc->set_resolver( Server->new );
    $dmarc->header_from($author);
    $dmarc->dkim( [ map { { domain => $_, selector => 's', result => 'pass', human_result => '' } } grep { $_ ne '' } $dkim ] );
    $dmarc->spf( [ { domain => $spf || 'nobody.example', scope => 'mfrom', result => $spf ? 'pass' : 'fail' } ] );
    my $result = eval { $dmarc->validate };
    print $result ? join( ' ', $result->result, $result->disposition ) : "error $@", "\n";
}
