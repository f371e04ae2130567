package deliver_test

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/fairlead-edge/fairlead/websocket"
)

// A probe does something wrong on a server and says what came of it: a status,
// a control event or member, an error code, a close code.
type probe func(s *site) string

// asSSE reads a stream.
func asSSE(path string, headers ...string) probe {
	return func(s *site) string {
		resp := s.open("GET", path, http.NoBody, append([]string{"Accept: text/event-stream"}, headers...)...)
		defer resp.Body.Close()
		if resp.StatusCode != 200 {
			return status(s, resp)
		}
		e := newEvents(s.t, resp).next()
		return "200, `" + e.Type + "`"
	}
}

// asPage reads a page.
func asPage(path string, headers ...string) probe {
	return func(s *site) string {
		resp := s.open("GET", path, http.NoBody, append([]string{"Accept: application/json"}, headers...)...)
		defer resp.Body.Close()
		if resp.StatusCode != 200 {
			return status(s, resp)
		}
		text, _ := io.ReadAll(resp.Body)
		for _, member := range []string{"gap", "fault", "end"} {
			if strings.Contains(string(text), `"`+member+`":`) {
				return "200, `" + member + "`"
			}
		}
		return "200"
	}
}

// asSocket opens a WebSocket, sends the messages, and reads until the server
// says something other than an event.
func asSocket(path string, header []string, protocols []string, messages ...string) probe {
	return func(s *site) string {
		h := http.Header{}
		for _, line := range header {
			name, value, _ := strings.Cut(line, ": ")
			h.Add(name, value)
		}
		conn, resp, err := s.handshake(path, h, protocols)
		if err != nil {
			if resp == nil {
				s.t.Fatal(err)
			}
			return status(s, resp)
		}
		defer conn.CloseNow()
		for _, m := range messages {
			if err := conn.Write(websocket.Text, []byte(m)); err != nil {
				s.t.Fatal(err)
			}
		}
		return said(s, conn, len(protocols) > 0)
	}
}

func said(s *site, conn *websocket.Conn, many bool) string {
	for {
		_, p, err := conn.Read()
		if err != nil {
			return fmt.Sprintf("close %d", websocket.CloseCode(err))
		}
		switch m := decode[struct {
			Error           *struct{ Code string }
			Gap, End, Fault any
		}](s.t, string(p)); {
		case m.Error != nil:
			return "`" + m.Error.Code + "`"
		case m.Gap != nil:
			return "`gap`"
		case m.End != nil, m.Fault != nil: // what it is closed with says which
			if !many {
				continue
			}
			if m.Fault != nil {
				return "`fault`"
			}
			return "`end`"
		}
	}
}

// binary sends a ping of fairlead.v1.json that is not text.
func binary(path string, protocols []string) probe {
	return func(s *site) string {
		conn := s.socket(path, protocols...)
		if err := conn.Write(websocket.Binary, []byte(`{"id":1,"ping":true}`)); err != nil {
			s.t.Fatal(err)
		}
		return said(s, conn.Conn, len(protocols) > 0)
	}
}

// placeOf returns the part of a composite id that is a topic's.
func placeOf(name, cursor string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:4]) + cursor
}

func one(path string, headers ...string) probe { return asSocket(path, headers, nil) }

func many(messages ...string) probe {
	return asSocket("/topics", nil, []string{"fairlead.v1.json"}, messages...)
}

func post(path, body string, headers ...string) probe {
	return func(s *site) string {
		resp := s.open("POST", path, strings.NewReader(body), headers...)
		defer resp.Body.Close()
		return status(s, resp)
	}
}

// status returns the status, after checking that an error is one as RFC 9457
// wants it.
func status(s *site, resp *http.Response) string {
	text, _ := io.ReadAll(resp.Body)
	if resp.StatusCode >= 400 {
		if got := resp.Header.Get("Content-Type"); got != "application/problem+json" {
			s.t.Errorf("%d is of type %q: %s", resp.StatusCode, got, text)
			return fmt.Sprint(resp.StatusCode)
		}
		p := decode[struct {
			Title, Detail, Code string
			Status              int
		}](s.t, string(text))
		if p.Status != resp.StatusCode || p.Detail == "" || p.Title == "" || p.Code == "" {
			s.t.Errorf("%d has the problem %s", resp.StatusCode, text)
		}
		if resp.Header.Get("Cache-Control") != "no-store" {
			s.t.Errorf("%d may be stored: %q", resp.StatusCode, resp.Header)
		}
	}
	return fmt.Sprint(resp.StatusCode)
}

// raw sends bytes as they are, and lets go say when that is not all. It returns
// the status, or how the connection ended.
func raw(request string, half bool) probe {
	return func(s *site) string {
		conn := dialRaw(s)
		defer conn.Close()
		if _, err := io.WriteString(conn, request); err != nil {
			s.t.Fatal(err)
		}
		if half {
			conn.CloseWrite()
		}
		br := bufio.NewReader(conn)
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			s.t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if resp.StatusCode >= 400 { // the rest of the request is not waited for
			_, _ = io.Copy(io.Discard, br)
		}
		if resp.StatusCode == 200 && strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
			return "200, then " + ending(err)
		}
		if len(text) == 0 {
			s.t.Errorf("%d says nothing", resp.StatusCode)
		}
		return fmt.Sprint(resp.StatusCode)
	}
}

func dialRaw(s *site) *net.TCPConn {
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		s.t.Fatal(err)
	}
	return conn.(*net.TCPConn)
}

func ending(err error) string {
	if err == nil {
		return "the end of the stream"
	}
	return "cut"
}

// mangled sends text that is not UTF-8, which no client would, on a WebSocket.
func mangled(path, protocol, text string) probe {
	return func(s *site) string {
		conn := dialRaw(s)
		defer conn.Close()
		request := handshake(path, "Sec-WebSocket-Protocol: "+protocol)
		frame := append([]byte{0x81, 0x80 | byte(len(text)), 0, 0, 0, 0}, text...)
		if _, err := conn.Write(append([]byte(request), frame...)); err != nil {
			s.t.Fatal(err)
		}
		return swallowed(s, conn)
	}
}

func handshake(path string, header ...string) string {
	return "GET " + path + " HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
		strings.Join(append(header, "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"), "\r\n")
}

// deaf opens a connection, reads nothing while the topic grows by far more than
// the network holds, and then looks how far it got.
func deaf(request string, policy func(s *site)) probe {
	return func(s *site) string {
		conn := dialRaw(s)
		defer conn.Close()
		if _, err := io.WriteString(conn, request); err != nil {
			s.t.Fatal(err)
		}
		br := bufio.NewReader(conn)
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			s.t.Fatal(err)
		}
		policy(s)
		if resp.StatusCode != http.StatusSwitchingProtocols {
			_, err := io.Copy(io.Discard, resp.Body)
			return "200, then " + ending(err)
		}
		c := websocket.New(&buffered{br, conn}, websocket.Client, websocket.Config{MaxMessage: 16 << 20})
		for { // gaps are fair
			if _, _, err := c.Read(); err != nil {
				return fmt.Sprintf("close %d", websocket.CloseCode(err))
			}
		}
	}
}

// request sends a request and returns the status.
func request(method, path string, headers ...string) probe {
	return func(s *site) string {
		resp := s.open(method, path, http.NoBody, headers...)
		defer resp.Body.Close()
		return status(s, resp)
	}
}

type buffered struct {
	io.Reader
	*net.TCPConn
}

func (b *buffered) Read(p []byte) (int, error) { return b.Reader.Read(p) }

func (b *buffered) WriteTo(w io.Writer) (int64, error) { return 0, errors.ErrUnsupported }
