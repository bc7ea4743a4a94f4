package dkim_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"math/rand/v2"
	"testing"
	"time"

	"dkimd/internal/dkim"

	"golang.org/x/sys/unix"
)

// ordinaryMail is 64 KiB of text as people write it, with some double spaces.
func ordinaryMail() []byte {
	random := rand.New(rand.NewPCG(3, 4))
	words := []string{"the", "message", "body", "of", "a", "mail", "that", "people", "write", "to", "each", "other,", "every", "day."}
	var out []byte
	column := 0
	for len(out) < 64<<10 {
		word := words[random.IntN(len(words))]
		out = append(out, word...)
		column += len(word) + 1
		switch {
		case column > 68 && random.IntN(6) == 0:
			out = append(out, "\r\n\r\n"...)
			column = 0
		case column > 68:
			out = append(out, "\r\n"...)
			column = 0
		case random.IntN(40) == 0:
			out = append(out, "  "...)
		default:
			out = append(out, ' ')
		}
	}
	return out
}

func benchmarkBodies() map[string][]byte {
	random := rand.New(rand.NewPCG(5, 6))
	raw := make([]byte, 48<<10)
	for i := range raw {
		raw[i] = byte(random.Uint32())
	}
	var attachment, noise []byte
	for rest := base64.StdEncoding.EncodeToString(raw); len(rest) >= 76; rest = rest[76:] {
		attachment = append(append(attachment, rest[:76]...), "\r\n"...)
	}
	for range 64 << 10 {
		noise = append(noise, " \t\r\nab!"[random.IntN(7)])
	}
	return map[string][]byte{
		"text":         ordinaryMail(),
		"base64":       attachment,
		"html":         bytes.Repeat([]byte("      <td class=\"cell\">value</td>\r\n"), 1800),
		"flowed":       bytes.Repeat([]byte("a line of format=flowed text as some programs like to send it, \r\n"), 1000),
		"line-ends":    bytes.Repeat([]byte("\r\n"), 32<<10),
		"line-feeds":   bytes.Repeat([]byte("\n"), 64<<10),
		"returns":      bytes.Repeat([]byte("\r"), 64<<10),
		"spaces":       append(bytes.Repeat([]byte(" "), 64<<10), 'x'),
		"short-lines":  bytes.Repeat([]byte("-\r\n"), 20<<10),
		"double-space": bytes.Repeat([]byte("x  "), 20<<10),
		"tabs":         bytes.Repeat([]byte("x\t"), 32<<10),
		"white-lines":  bytes.Repeat([]byte(" \r\n"), 20<<10),
		"sparse":       bytes.Repeat([]byte("abcdefghijklmnopqrstuvwx\t"), 2600),
		"space-return": bytes.Repeat([]byte(" \r"), 32<<10),
		"noise":        noise,
	}
}

func BenchmarkBodyHash(b *testing.B) {
	for name, chunk := range benchmarkBodies() {
		for _, c := range []dkim.Canonicalization{dkim.Simple, dkim.Relaxed} {
			b.Run(c.String()+"/"+name, func(b *testing.B) {
				hash := dkim.NewBodyHash(c, -1)
				b.SetBytes(int64(len(chunk)))
				b.ReportAllocs()
				began := cpuTime()
				for b.Loop() {
					_, _ = hash.Write(chunk)
				}
				reportCPU(b, len(chunk), cpuTime()-began)
			})
		}
	}
	b.Run("sha256", func(b *testing.B) {
		chunk := ordinaryMail()
		hash := sha256.New()
		b.SetBytes(int64(len(chunk)))
		began := cpuTime()
		for b.Loop() {
			hash.Write(chunk)
		}
		reportCPU(b, len(chunk), cpuTime()-began)
	})
}

// reportCPU reports the speed in CPU time, which other programs on the machine
// change less than the time that passes.
func reportCPU(b *testing.B, size int, spent time.Duration) {
	b.Helper()
	b.ReportMetric(float64(b.N)*float64(size)/1e6/spent.Seconds(), "cpuMB/s")
}

// cpuTime is that of this process so far.
func cpuTime() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts)
	return time.Duration(ts.Nano())
}
