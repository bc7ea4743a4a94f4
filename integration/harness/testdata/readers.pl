# Prints what Mail::AuthenticationResults reads in the Authentication-Results fields of the message on stdin, a result a line;
# then what SpamAssassin's AuthRes finds of spf, dmarc and dkim by the name in the arguments: "spamassassin METHOD RESULT".
use strict;
use warnings;
use Mail::AuthenticationResults::Parser;
use Mail::SpamAssassin;

my ($name) = @ARGV;
local $/;
binmode STDIN;
my $message = <STDIN>;
my ($head) = split /\r?\n\r?\n/, $message, 2;
$head =~ s/\r?\n[ \t]+/ /g;
for my $line (grep { /^Authentication-Results:/i } split /\r?\n/, $head) {
    my $field = Mail::AuthenticationResults::Parser->new->parse($line);
    for my $result (grep { ref =~ /Entry$/ } @{ $field->children }) {
        print join(' ', $field->value->value, $result->key . '=' . $result->value, map { $_->key . '=' . $_->value } grep { ref =~ /Entry$/ } @{ $result->children }), "\n";
    }
}

my $rules = "loadplugin Mail::SpamAssassin::Plugin::Check\nloadplugin Mail::SpamAssassin::Plugin::AuthRes\nutil_rb_tld test com\nauthres_trusted_authserv $name\nauthres_networks all\n";
my @known;
for my $method (qw(spf dmarc dkim)) {
    for my $result (qw(pass fail none softfail)) {
        my $rule = uc "T_${method}_$result";
        push @known, [$rule, "$method $result"];
        $rules .= "header $rule eval:check_authres_result('$method', '$result')\nscore $rule 1\n";
    }
}
my $spamassassin = Mail::SpamAssassin->new({ config_text => $rules, local_tests_only => 1, dont_copy_prefs => 1, userstate_dir => '/nonexistent' });
my $parsed = $spamassassin->parse($message);
my $status = $spamassassin->check($parsed);
my %hit = map { $_ => 1 } split /,/, $status->get_names_of_tests_hit;
print "spamassassin $_->[1]\n" for grep { $hit{ $_->[0] } } @known;
