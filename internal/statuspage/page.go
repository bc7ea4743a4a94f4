package statuspage

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed" // the template and the style sheet
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"dkimd/internal/control"
	"dkimd/internal/domain"
	"dkimd/internal/safetext"
	"dkimd/internal/terminal"
)

const (
	maxPages     = 2  // made at once; the next is asked to try again
	maxSent      = 16 // being sent, to those who read slowly as well; the same
	searchTime   = 5 * time.Second
	refreshAfter = 60 // seconds
)

// Config is what the page shows beside the history of mail, and to whom.
type Config struct {
	History *History
	Status  func() control.Status
	Rules   func() Rules
	// Keys are those of one domain, or without one the first of all, those in trouble before the others.
	Keys func(ctx context.Context, name domain.Name) Keys
}

// Rules are the rules files in force.
type Rules struct {
	Files  int
	Listed []Rule // of all files; none where there are too many
	Tests  string // what came of the test cases beside them; empty: there are none
	Failed bool   // one of these
}

// Rule is one rule of a file.
type Rule struct{ File, Mode, Name, Action string }

// Keys are some of the private keys.
type Keys struct {
	Listed   []Key
	Left     int       // domains that are not listed
	Compared time.Time // with DNS, the last time
}

// Key is a key at any stage of its life.
type Key struct {
	Domain, Selector, State string
	Type                    string    // and its bits; empty: not known yet
	Since                   time.Time // of the state; zero: not known
	Made                    time.Time // the key itself; the same
	DNS                     string    // what DNS has of it; empty: it was not compared yet
	Unserved                bool      // it signs, and DNS does not serve it
	Trouble                 string
}

//go:embed page.html
var pageText string

//go:embed page.css
var styleText string

// page serves /.
type page struct {
	Config

	template *template.Template
	policy   string        // Content-Security-Policy
	turns    chan struct{} // of making a page
	sent     chan struct{} // of sending it
}

// New makes the handler of the page.
func New(c Config) (http.Handler, error) {
	p := &page{Config: c, turns: make(chan struct{}, maxPages), sent: make(chan struct{}, maxSent)}
	style := strings.TrimSpace(styleText)
	var err error
	p.template, err = template.New("page").Funcs(template.FuncMap{
		"style": func() template.CSS { return template.CSS(style) }, //nolint:gosec // our own
		"text":  safetext.Printable, "plural": terminal.Plural,
		"ago": ago, "clock": func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") },
	}).Parse(pageText)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(style))
	p.policy = "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
	return p, nil
}

// ServeHTTP is http.Handler. It has no state beside the history, and sets no cookie.
func (p *page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	head := w.Header()
	head.Set("Content-Security-Policy", p.policy)
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("Referrer-Policy", "no-referrer")
	head.Set("Cross-Origin-Resource-Policy", "same-origin")
	head.Set("Cache-Control", "no-store")
	if !take(p.sent) {
		refuse(w, tooMany, http.StatusServiceUnavailable)
		return
	}
	defer release(p.sent)
	text, status := p.render(r, head)
	if text == nil {
		refuse(w, tooMany, http.StatusServiceUnavailable)
		return
	}
	head.Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(text)
}

const tooMany = "too many pages at once, try again"

func take(places chan struct{}) bool {
	select {
	case places <- struct{}{}:
		return true
	default:
		return false
	}
}

func release(places chan struct{}) { <-places }

// render makes a page; nil: too many are being made. It has a turn no longer than that: whoever does not read would keep it.
func (p *page) render(r *http.Request, head http.Header) (text []byte, status int) {
	if !take(p.turns) {
		return nil, 0
	}
	defer release(p.turns)
	query := r.URL.Query()
	ctx, cancel := context.WithTimeout(r.Context(), searchTime)
	defer cancel()
	var name string
	var view any
	status = http.StatusOK
	switch asked := strings.TrimSpace(query.Get("q")); {
	case query.Has("message"):
		name = "message"
		m := p.message(query.Get("message"))
		if m.Event == nil {
			status = http.StatusNotFound
		}
		view = m
	case asked != "":
		name, view = "search", p.find(ctx, safetext.Clip(asked, maxQuery))
	default:
		o := p.overview(ctx, query.Get("span") == "1h", query.Get("refresh") != "0")
		if o.Refreshes {
			head.Set("Refresh", strconv.Itoa(refreshAfter))
		}
		name, view = "overview", o
	}
	var out bytes.Buffer
	if err := p.template.ExecuteTemplate(&out, name, view); err != nil {
		panic(fmt.Errorf("status page: %w", err)) // a fault of ours; the server answers and logs it
	}
	return out.Bytes(), status
}

// refuse says in words why there is no page.
func refuse(w http.ResponseWriter, text string, status int) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n")
}

// ago is how long something is past, in its largest unit.
func ago(now, t time.Time) string {
	d := max(now.Sub(t), 0)
	switch {
	case d >= 48*time.Hour:
		return terminal.Plural(int(d/(24*time.Hour)), "day")
	case d >= 2*time.Hour:
		return terminal.Plural(int(d/time.Hour), "hour")
	case d >= 2*time.Minute:
		return terminal.Plural(int(d/time.Minute), "minute")
	}
	return terminal.Plural(int(d/time.Second), "second")
}
