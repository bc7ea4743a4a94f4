package main

import (
	"cmp"
	"fmt"
	"html"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// chart is a picture of some of the figures, beside the document.
type chart struct {
	name  string // after that of the document
	title string
	draw  func(*canvas)
}

// charts are the pictures of a report. They hold nothing that its tables do not.
func (r *report) charts() []chart {
	return []chart{
		{"peers", "CPU of a message of 4 KiB, one a connection, in ms", r.drawPeers},
		{"size", "CPU of a message by its size, one a connection, in ms", r.drawSizes},
		{"connections", "CPU of a message (verify 1, 4 KiB) by connections open, times that with 4", r.drawConnections},
	}
}

// saveCharts draws all charts beside the document.
func (r *report) saveCharts(document string) error {
	for _, c := range r.charts() {
		if err := os.WriteFile(chartPath(document, c), []byte(c.svg()), 0o644); err != nil { //nolint:gosec // to be committed
			return err
		}
	}
	return nil
}

func chartPath(document string, c chart) string {
	return strings.TrimSuffix(document, filepath.Ext(document)) + "-" + c.name + ".svg"
}

// chartLinks are the charts as the document shows them.
func (r *report) chartLinks(document string) string {
	var b strings.Builder
	for _, c := range r.charts() {
		fmt.Fprintf(&b, "![%s](%s)\n", c.title, filepath.Base(chartPath(document, c)))
	}
	return b.String()
}

// charted are the subjects of charts, each with its colour: readable on white and on black.
func charted() []string { return []string{subjectDkimd, subjectOpen, subjectRspamd, subjectMsgauth} }

// canvas is a picture that grows downwards.
type canvas struct {
	strings.Builder

	height int
}

const (
	chartWidth = 760
	labelWidth = 190
	plotWidth  = 470 // what is right of it is for figures
)

func (c chart) svg() string {
	body := &canvas{height: 34}
	body.text(10, 20, "t", "", c.title)
	c.draw(body)
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" role="img" aria-label="%[3]s">
<style>text{font:12px sans-serif;fill:#222}.t{font-weight:bold}.g{stroke:#8884}.page{fill:#fff}
.c0{fill:#1f6fb2;stroke:#1f6fb2}.c1{fill:#b8860b;stroke:#b8860b}.c2{fill:#8c5bb5;stroke:#8c5bb5}.c3{fill:#6b7b83;stroke:#6b7b83}.l{fill:none;stroke-width:2}
@media (prefers-color-scheme:dark){text{fill:#ddd}.page{fill:#161a1e}}</style>
<rect class="page" width="100%%" height="100%%"/>
%[4]s</svg>
`, chartWidth, body.height+10, html.EscapeString(c.title), body)
}

func (c *canvas) text(x, y int, class, anchor, s string) {
	fmt.Fprintf(c, `<text x="%d" y="%d" class="%s" text-anchor="%s">%s</text>`+"\n", x, y, class, cmp.Or(anchor, "start"), html.EscapeString(s))
}

// bar is a line of its own: name, bar, figure.
func (c *canvas) bar(colour int, name, figure string, share float64) {
	c.text(labelWidth-8, c.height+11, "", "end", name)
	fmt.Fprintf(c, `<rect class="c%d" x="%d" y="%d" width="%.1f" height="11"/>`+"\n", colour, labelWidth, c.height+1, math.Max(share*plotWidth, 1))
	c.text(labelWidth+int(share*plotWidth)+6, c.height+11, "", "", figure)
	c.height += 16
}

func (r *report) drawPeers(c *canvas) {
	rows := r.rows(func(r row) bool { return r.Size == 4<<10 && r.PerConn == 1 })
	most := 0.0
	for _, one := range rows {
		for _, subject := range charted() {
			most = math.Max(most, one.Figures[subject].CPU)
		}
	}
	for _, one := range rows {
		c.text(10, c.height+11, "t", "", string(one.Row.Deed))
		c.height += 16
		for i, subject := range charted() {
			if f, ok := one.Figures[subject]; ok {
				c.bar(i, subject, fmt.Sprintf("%.2f", f.CPU), f.CPU/most)
			}
		}
		c.height += 6
	}
}

func (r *report) rows(wanted func(row) bool) []result {
	var rows []result
	for _, one := range r.Results {
		if wanted(one.Row) {
			rows = append(rows, one)
		}
	}
	return rows
}

// drawSizes has a plot for each of two deeds, both axes logarithmic.
func (r *report) drawSizes(c *canvas) {
	const height, left, bottom, top = 240, 60, 0.1, 2000.0 // ms
	for i, subject := range charted() {
		fmt.Fprintf(c, `<rect class="c%d" x="%d" y="%d" width="11" height="11"/>`, i, left+i*120, c.height)
		c.text(left+i*120+16, c.height+10, "", "", subject)
	}
	c.height += 20
	level := func(ms float64) float64 {
		return float64(c.height+height) - height*math.Log10(ms/bottom)/math.Log10(top/bottom)
	}
	for plot, d := range []deed{signRSA, verifyOne} {
		x0 := left + plot*350
		at := func(size int) float64 {
			return float64(x0) + 270*math.Log2(float64(size)/(4<<10))/math.Log2(10<<20/(4<<10))
		}
		rows := r.rows(func(r row) bool { return r.Deed == d && r.PerConn == 1 })
		for ms := bottom; ms < top; ms *= 10 {
			fmt.Fprintf(c, `<path class="g" d="M%d %.1fh290"/>`, x0, level(ms))
			c.text(x0-6, int(level(ms))+4, "", "end", fmt.Sprintf("%g", math.Round(ms*10)/10))
		}
		for i, subject := range charted() {
			var path strings.Builder
			for _, one := range rows {
				if f, ok := one.Figures[subject]; ok {
					x, y := at(one.Row.Size), level(f.CPU)
					fmt.Fprintf(&path, "L%.1f %.1f", x, y)
					fmt.Fprintf(c, `<circle class="c%d" cx="%.1f" cy="%.1f" r="3"/>`, i, x, y)
				}
			}
			if path.Len() > 0 {
				fmt.Fprintf(c, `<path class="c%d l" d="M%s"/>`+"\n", i, path.String()[1:])
			}
		}
		for _, one := range rows {
			c.text(int(at(one.Row.Size)), c.height+height+16, "", "middle", size(one.Row.Size))
		}
		c.text(x0+135, c.height+height+34, "t", "middle", string(d))
	}
	c.height += height + 40
}

func (r *report) drawConnections(c *canvas) {
	const most = 3.0
	c.bar(0, "4 connections", "1.00", 1/most)
	for _, line := range r.Scale {
		text, found := strings.CutSuffix(line.Measured, timesOverFour)
		if times, err := strconv.ParseFloat(text, 64); found && err == nil {
			_, count, _ := strings.Cut(line.What, "over ")
			c.bar(0, strings.TrimSuffix(count, " connections")+" connections", fmt.Sprintf("%.2f", times), math.Min(times, most)/most)
		}
	}
}
