package deliver_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/fairlead-edge/fairlead/topic"
	"github.com/fairlead-edge/fairlead/websocket"

	"github.com/fairlead-edge/fairlead"
)

// awaitReaders waits until the topic has as many readers.
func awaitReaders(s *site, name string, n int) *topic.Log {
	s.t.Helper()
	l, err := s.topics.Get(name)
	if err != nil {
		s.t.Fatal(err)
	}
	for l.Stats().Readers != n {
		select {
		case <-s.t.Context().Done():
			s.t.Fatal("the reader never came, or never left")
		case <-time.After(time.Millisecond):
		}
	}
	return l
}

// flood publishes until the reader is gone: more than the network holds.
func flood(s *site) {
	awaitReaders(s, "t", 1)
	for range 64 {
		put(s, plenty)
	}
	awaitReaders(s, "t", 0)
}

// overrun publishes more than the network and the topic hold, so that the
// reader loses its place as soon as it reads again.
func overrun(s *site) {
	awaitReaders(s, "t", 1)
	for range 64 {
		put(s, plenty)
	}
}

func put(s *site, data string) {
	s.t.Helper()
	if _, err := s.topics.Append(s.t.Context(), "t", topic.Batch{Events: []fairlead.Event{{Data: []byte(data)}}}); err != nil {
		s.t.Fatal(err)
	}
}

// pastEnd probes with the cursor of the topic's end.
func pastEnd(with func(cursor string) probe) probe {
	return func(s *site) string {
		p := s.page("/topics/t")
		if p.End == nil {
			s.t.Fatal("the topic is open")
		}
		return with(string(p.Next))(s)
	}
}

// removing removes the topic while the probe reads it.
func removing(p probe) probe {
	return func(s *site) string {
		got := make(chan string, 1)
		go func() { got <- p(s) }()
		awaitReaders(s, "t", 1)
		if a := s.do("DELETE", "/topics/t", ""); a.status != 204 {
			s.t.Errorf("DELETE is %d", a.status)
		}
		return <-got
	}
}

// swallowed reads a WebSocket's handshake and then to the end.
func swallowed(s *site, conn net.Conn) string {
	br := bufio.NewReader(conn)
	resp, err := http.ReadResponse(br, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		s.t.Fatal(resp, err)
	}
	p := make([]byte, 4)
	if _, err := io.ReadFull(br, p); err == nil && p[0] == 0x88 {
		return fmt.Sprintf("close %d", int(p[2])<<8|int(p[3]))
	}
	return fmt.Sprintf("close %d", websocket.AbnormalClosure)
}
