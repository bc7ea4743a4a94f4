package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// eximSink is the host that Exim delivers to.
type eximSink struct {
	listener net.Listener
	mails    chan []byte
}

func newEximSink(ctx context.Context) (*eximSink, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &eximSink{listener: listener, mails: make(chan []byte, 2*eximMessages)}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				_ = s.serve(conn)
			}()
		}
	}()
	return s, nil
}

func (s *eximSink) port() int { return s.listener.Addr().(*net.TCPAddr).Port }

func (s *eximSink) close() { _ = s.listener.Close() }

func (s *eximSink) serve(conn net.Conn) error {
	in := bufio.NewReader(conn)
	say := func(text string) { _, _ = io.WriteString(conn, text+"\r\n") }
	say("220 sink ESMTP")
	var mail []byte
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return err
		}
		words := strings.Fields(strings.ToUpper(line))
		switch {
		case len(words) == 0:
			say("500 what")
		case words[0] == "EHLO":
			say("250-sink\r\n250-PIPELINING\r\n250-CHUNKING\r\n250 8BITMIME")
		case words[0] == "BDAT" && len(words) > 1:
			n, _ := strconv.Atoi(words[1])
			part := make([]byte, n)
			if _, err := io.ReadFull(in, part); err != nil {
				return err
			}
			if mail = append(mail, part...); len(words) > 2 {
				s.mails <- mail
				mail = nil
			}
			say("250 ok")
		case words[0] == "DATA":
			say("354 go on")
			for {
				line, err := in.ReadBytes('\n')
				if err != nil {
					return err
				}
				if string(line) == ".\r\n" {
					break
				}
				mail = append(mail, line...)
			}
			s.mails <- mail
			mail = nil
			say("250 ok")
		case words[0] == "QUIT":
			say("221 bye")
			return nil
		default:
			say("250 ok")
		}
	}
}

// wait takes n messages, each of which must be signed once.
func (s *eximSink) wait(n int) error {
	limit := time.After(2 * time.Minute)
	for i := range n {
		select {
		case mail := <-s.mails:
			if got := bytes.Count(mail, []byte("DKIM-Signature: v=1;")); got != 1 {
				return fmt.Errorf("message %d left with %d signatures", i, got)
			}
		case <-limit:
			return errors.New("messages do not leave")
		}
	}
	return nil
}
