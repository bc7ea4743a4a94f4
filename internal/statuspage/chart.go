package statuspage

import (
	"fmt"
	"time"
)

// chart is columns of some outcomes, on top of each other.
type chart struct {
	Title         string
	Most          uint32 // of a column: the height of the chart
	Span          string // of a column
	From, Mid, To time.Time
	Legend        []legend
	Bars          []bar
	Empty         bool
}

type legend struct {
	Class, Word string
	Mail        uint64
}

// bar is a piece of a column, in a picture of chartWidth by chartHeight, or of a share.
type bar struct {
	Class               string
	X, Y, Width, Height string
	Title               string
}

const (
	chartWidth  = 960.0
	chartHeight = 100.0
)

// classes name the outcomes in the style sheet.
func classes() [outcomes]string {
	return [outcomes]string{"signed", "unsigned", "passed", "failed", "bare", "stopped", "deferred", "unjudged"}
}

func newChart(title string, columns []column, which ...outcome) chart {
	class, words := classes(), outcomeWords()
	c := chart{Title: title, Span: "a minute", From: columns[0].from, Mid: columns[len(columns)/2].from, To: columns[len(columns)-1].from}
	if columns[1].from.Sub(c.From) > time.Minute {
		c.Span = "in half an hour"
	}
	for _, o := range which {
		l := legend{Class: class[o], Word: words[o]}
		for i := range columns {
			l.Mail += uint64(columns[i].counts[o])
		}
		c.Legend = append(c.Legend, l)
	}
	for i := range columns {
		var sum uint32
		for _, o := range which {
			sum += columns[i].counts[o]
		}
		c.Most = max(c.Most, sum)
	}
	c.Empty = c.Most == 0
	width := chartWidth / float64(len(columns))
	for i := range columns {
		top := chartHeight
		for _, o := range which {
			n := columns[i].counts[o]
			if n == 0 {
				continue
			}
			height := chartHeight * float64(n) / float64(c.Most)
			top -= height
			c.Bars = append(c.Bars, bar{
				Class: class[o], X: coordinate(float64(i)*width + 1), Y: coordinate(top), Width: coordinate(width - 2), Height: coordinate(height),
				Title: fmt.Sprintf("%s UTC: %d %s", columns[i].from.UTC().Format("15:04"), n, words[o]),
			})
		}
	}
	return c
}

// shares are the outcomes as parts of one bar of chartWidth.
func (c *counts) shares() []bar {
	var list []bar
	class := classes()
	at, all := 0.0, float64(c.total())
	for o, n := range c {
		if n == 0 {
			continue
		}
		width := chartWidth * float64(n) / all
		list = append(list, bar{Class: class[o], X: coordinate(at), Width: coordinate(width)})
		at += width
	}
	return list
}

func coordinate(f float64) string { return fmt.Sprintf("%.1f", f) }
