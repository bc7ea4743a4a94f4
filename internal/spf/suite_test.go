package spf_test

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"dkimd/internal/resolver"
	"dkimd/internal/resolver/dnstest"
	"dkimd/internal/spf"

	"github.com/miekg/dns"
	"gopkg.in/yaml.v3"
)

// list is a YAML list, or a single text.
type list []string

func (l *list) UnmarshalYAML(value *yaml.Node) error {
	if value.Kind == yaml.ScalarNode {
		*l = list{value.Value}
		return nil
	}
	return value.Decode((*[]string)(l))
}

// scenario is a zone and what is to come out of it.
type scenario struct {
	Description string
	Tests       map[string]struct {
		Helo, Host, MailFrom string
		Result               list
	}
	ZoneData map[string][]yaml.Node
}

// leftOut are the tests of the suite that we do not pass, and why.
var leftOut = map[string]string{
	"spftimeout":                "asks for records of type 99, which RFC 7208 section 3.1 has done away with",
	"p-macro-multiple":          "the name of the client, %{p}, is always unknown to the library: RFC 7208 section 7.3 allows that, and says not to use it",
	"a-colon-domain":            slash,
	"a-colon-domain-ip4mapped":  slash,
	"mx-colon-domain":           slash,
	"mx-colon-domain-ip4mapped": slash,
}

const slash = "a slash in the name of a domain, which the library takes for a mask: permerror in place of pass"

// The suite of RFC 7208, of the library's module, through a real DNS server and our resolver.
func TestSuiteOfRFC7208(t *testing.T) {
	t.Parallel()
	count := 0
	for _, s := range scenarios(t) {
		count += len(s.Tests)
		t.Run(s.Description, func(t *testing.T) {
			t.Parallel()
			dnsOf := s.serve(t)
			c := checker(t, dnsOf)
			for name, test := range s.Tests {
				r := spf.Request{Client: netip.MustParseAddr(test.Host), HELO: test.Helo, Sender: test.MailFrom}
				got := c.Check(t.Context(), r)
				if cached, ok := c.CheckCached(r); ok && cached != got {
					t.Errorf("%s: got %+v from the cache; want %+v", name, cached, got)
				}
				passes := slices.Contains(test.Result, got.Result.String())
				if _, out := leftOut[name]; passes == out {
					t.Errorf("%s: got %+v; want %v, but for what is left out", name, got, test.Result)
				}
			}
		})
	}
	if count != 203 {
		t.Errorf("%d tests; want 203", count)
	}
}

func scenarios(t *testing.T) (all []scenario) {
	t.Helper()
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "blitiri.com.ar/go/spf").Output()
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(filepath.Join(strings.TrimSpace(string(dir)), "testdata", "rfc7208-tests.yml"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close() //nolint:errcheck // it is read only
	for decoder := yaml.NewDecoder(file); ; {
		var s scenario
		if err := decoder.Decode(&s); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
}

// serve has a DNS server with the zone. Records of type SPF are TXT, where there are none of these.
func (s scenario) serve(t *testing.T) *resolver.Resolver {
	t.Helper()
	server, err := dnstest.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	var zone strings.Builder
	texts, faults := map[string][]list{}, []func(){}
	for name, nodes := range s.ZoneData {
		owner := strings.TrimSuffix(escaped(name), ".") + "."
		var spfs []list
		for _, node := range nodes {
			if node.Kind == yaml.ScalarNode {
				faults = append(faults, func() { server.Drop(owner) })
				continue
			}
			rrtype, value := node.Content[0].Value, list{}
			if err := node.Content[1].Decode(&value); err != nil {
				t.Fatal(err)
			}
			switch rrtype {
			case "TXT":
				texts[owner] = append(texts[owner], value)
			case "SPF":
				spfs = append(spfs, value)
			case "CNAMELOOP":
				faults = append(faults, func() { server.SetRcode(owner, dns.RcodeServerFailure) })
			case "TIMEOUT":
				faults = append(faults, func() { server.Drop(owner) })
			default:
				if last := &value[len(value)-1]; *last == "" {
					*last = "." // a host that is the root
				}
				fmt.Fprintf(&zone, "%s %s %s\n", owner, rrtype, strings.Join(value, " "))
			}
		}
		if len(texts[owner]) == 0 {
			texts[owner] = spfs
		}
	}
	if err := server.SetZone(zone.String()); err != nil {
		t.Fatal(err)
	}
	for owner, records := range texts {
		for _, strings := range records {
			server.AddTXT(owner, strings...)
		}
	}
	for _, do := range faults {
		do()
	}
	r, err := resolver.New(resolver.Config{Servers: []string{server.Addr()}, Timeout: 2 * time.Second, Attempts: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// escaped is a name as zone files have it.
func escaped(name string) string {
	return strings.NewReplacer(" ", `\ `, "(", `\(`, ")", `\)`, `"`, `\"`, "@", `\@`, ";", `\;`, "$", `\$`).Replace(name)
}
