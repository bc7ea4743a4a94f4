# Reads From values, one JSON string a line, and writes what Mail::Address takes for the addresses.
use strict;
use warnings;
use Encode;
use JSON::PP;
use Mail::Address;

my $json = JSON::PP->new->allow_nonref->utf8;
while (my $line = <STDIN>) {
    my $value = $json->decode($line);
    $value =~ s/\r?\n(?=[ \t])//g;
    my $decoded = eval { decode('MIME-Header', $value) } // $value;
    my $addresses = sub { [map { $_->address } eval { Mail::Address->parse($_[0]) }] };
    print $json->encode({
        'Mail::Address' => $addresses->($value),
        'Mail::Address, decoded first' => $addresses->($decoded),
    }), "\n";
}
