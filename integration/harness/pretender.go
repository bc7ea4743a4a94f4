package harness

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"os"
	"testing"
)

// ServeMilter listens at a milter address with somebody who is not dkimd.
func ServeMilter(t *testing.T, milter string, serve func(io.ReadWriter)) {
	t.Helper()
	network, address := Address(milter)
	if network == "unix" {
		_ = os.Remove(address)
	}
	listener, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { serve(conn); _ = conn.Close() }()
		}
	}()
}

// AcceptAll is a milter that agrees to everything. It tells each header field it is
// shown; without anybody to tell, it leaves at the end of the message.
func AcceptAll(conn io.ReadWriter, tell func(field string)) {
	for {
		size := make([]byte, 4)
		if _, err := io.ReadFull(conn, size); err != nil {
			return
		}
		packet := make([]byte, binary.BigEndian.Uint32(size))
		if _, err := io.ReadFull(conn, packet); err != nil {
			return
		}
		answer := []byte("\x00\x00\x00\x01c")
		switch packet[0] {
		case 'O': // version 6, no actions, every event
			answer = append([]byte("\x00\x00\x00\x0dO"), 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0)
		case 'D', 'A': // no answer
			continue
		case 'L':
			if tell != nil {
				name, value, _ := bytes.Cut(packet[1:], []byte{0})
				tell(string(name) + ": " + string(bytes.TrimRight(value, "\x00")))
			}
		case 'E':
			if tell == nil {
				return
			}
		case 'Q':
			return
		}
		if _, err := conn.Write(answer); err != nil {
			return
		}
	}
}
