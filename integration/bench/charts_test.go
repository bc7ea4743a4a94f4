package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
)

// The tables and charts that are committed are those of the committed figures.
func TestDocumentHoldsTheFigures(t *testing.T) {
	t.Parallel()
	const document = "../../docs/performance.md"
	r := &report{}
	if err := r.read("figures.json"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	if replaceSection(string(text), r.markdown(document)) != string(text) {
		t.Error("docs/performance.md is not of the figures: bench -draw")
	}
	for _, c := range r.charts() {
		drawn := c.svg()
		committed, err := os.ReadFile(chartPath(document, c))
		if err != nil || string(committed) != drawn {
			t.Errorf("%s is not of the figures: bench -draw; %v", chartPath(document, c), err)
		}
		for d := xml.NewDecoder(strings.NewReader(drawn)); ; {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
		}
	}
}
