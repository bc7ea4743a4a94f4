package harness

import (
	"encoding/binary"
	"io"
	"net"
	"testing"
)

// startLogins checks the passwords of Sendmail's users, in the place of Cyrus's
// saslauthd(8): four counted strings come, user, password, service and realm, and one
// goes. Every user has the same password.
func startLogins(t *testing.T, path string) {
	t.Helper()
	listener, err := net.Listen("unix", path)
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
			var words [4]string
			for i := range words {
				if words[i], err = readCounted(conn); err != nil {
					break
				}
			}
			answer := "\x00\x02NO"
			if words[1] == password {
				answer = "\x00\x02OK"
			}
			_, _ = conn.Write([]byte(answer))
			_ = conn.Close()
		}
	}()
}

func readCounted(r io.Reader) (string, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return "", err
	}
	text := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err := io.ReadFull(r, text)
	return string(text), err
}
