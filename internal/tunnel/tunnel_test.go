package tunnel_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	_ "github.com/fairlead-edge/fairlead/daemon/xconnect"
	"github.com/fairlead-edge/fairlead/internal/h2client"
	"github.com/fairlead-edge/fairlead/internal/leak"
	"github.com/fairlead-edge/fairlead/internal/tunnel"
)

func TestMain(m *testing.M) { leak.Main(m) }

// peer is the client's end of a tunnel.
type peer interface {
	io.ReadWriteCloser
	Reset()
}

// versions open a tunnel to a handler over each version of HTTP that has them.
var versions = map[string]func(*testing.T, http.Handler) (peer, *http.Response){
	"HTTP/2": func(t *testing.T, h http.Handler) (peer, *http.Response) {
		t.Helper()
		s := httptest.NewUnstartedServer(h)
		s.Config.Protocols = new(http.Protocols)
		s.Config.Protocols.SetUnencryptedHTTP2(true)
		s.Start()
		t.Cleanup(s.Close)
		return h2client.New(t).Connect(s.URL, h2client.WebSocket())
	},
	"HTTP/3": openH3,
}

// each runs a test with a way to open a tunnel and serve it, over each version.
func each(t *testing.T, test func(t *testing.T, opened func(serve func(*tunnel.Stream)) peer)) {
	t.Helper()
	t.Parallel()
	for version, open := range versions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			test(t, func(serve func(*tunnel.Stream)) peer {
				client, res := open(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					stream, err := tunnel.Open(w, r)
					if err != nil {
						t.Error(err)
						return
					}
					defer stream.Close()
					serve(stream)
				}))
				if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "" {
					t.Errorf("%s %v", res.Status, res.Header)
				}
				return client
			})
		})
	}
}

// more is over what a client that does not read takes.
var more = make([]byte, 16<<20)

func TestCloseFreesAReadAndAWrite(t *testing.T) {
	each(t, func(t *testing.T, opened func(serve func(*tunnel.Stream)) peer) {
		client := opened(func(s *tunnel.Stream) {
			errs := make(chan error)
			go func() {
				_, err := s.Read(make([]byte, 1))
				errs <- err
			}()
			go func() {
				_, err := s.Write(more)
				errs <- err
			}()
			_ = s.Close() // before or after they begin
			for range 2 {
				if err := <-errs; !errors.Is(err, net.ErrClosed) {
					t.Error(err)
				}
			}
		})
		_, _ = io.Copy(io.Discard, client) // an end or a reset, but one of them
	})
}

func TestNothingIsWrittenAfterClose(t *testing.T) {
	each(t, func(t *testing.T, opened func(serve func(*tunnel.Stream)) peer) {
		done := make(chan struct{})
		client := opened(func(s *tunnel.Stream) {
			defer close(done)
			_, _ = s.Write([]byte("first"))
			if err := errors.Join(s.Close(), s.Close()); err != nil {
				t.Error(err)
			}
			_, wrote := s.Write([]byte("second"))
			_, read := s.Read(make([]byte, 1))
			for _, err := range []error{wrote, read, s.SetDeadline(time.Now())} {
				if !errors.Is(err, net.ErrClosed) {
					t.Error(err)
				}
			}
		})
		if all, err := io.ReadAll(client); err != nil || string(all) != "first" {
			t.Errorf("%q, %v", all, err)
		}
		<-done
	})
}

func TestAWriteDeadlineFailsAWriteAndNoIdleStream(t *testing.T) {
	each(t, func(t *testing.T, opened func(serve func(*tunnel.Stream)) peer) {
		done := make(chan struct{})
		client := opened(func(s *tunnel.Stream) {
			defer close(done)
			_ = s.SetWriteDeadline(time.Now().Add(time.Hour))
			_, _ = s.Write([]byte("a"))
			passed, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
			defer cancel()
			until, _ := passed.Deadline()
			_ = s.SetWriteDeadline(until)
			<-passed.Done()
			if _, err := s.Write([]byte("late")); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("a write after its deadline: %v", err)
			}
			_ = s.SetWriteDeadline(time.Time{})
			_, _ = s.Write([]byte("b"))
			_ = s.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
			if _, err := s.Write(more); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("a write that stalls: %v", err)
			}
		})
		p := make([]byte, 1)
		_, _ = io.ReadFull(client, p)
		if _, err := io.ReadFull(client, p); err != nil || p[0] != 'b' {
			t.Errorf("%q, %v", p, err)
		}
		<-done
		if n, err := io.Copy(io.Discard, client); err == nil && n >= int64(len(more)) {
			t.Error("all of it arrived")
		}
	})
}

func TestADeadlineSetDuringAWriteCounts(t *testing.T) {
	each(t, func(t *testing.T, opened func(serve func(*tunnel.Stream)) peer) {
		done := make(chan struct{})
		opened(func(s *tunnel.Stream) {
			defer close(done)
			wrote := make(chan error)
			go func() {
				_, err := s.Write(more)
				wrote <- err
			}()
			if err := s.SetDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
				t.Error(err)
			}
			if _, err := s.Read(make([]byte, 1)); err == nil {
				t.Error("a read after its deadline")
			}
			if err := <-wrote; !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("a write after its deadline: %v", err)
			}
		})
		<-done
	})
}

func TestTheClientsEndIsAnEOFAndItsResetIsNot(t *testing.T) {
	each(t, func(t *testing.T, opened func(serve func(*tunnel.Stream)) peer) {
		read := make(chan error, 1)
		serve := func(s *tunnel.Stream) {
			p, err := io.ReadAll(s)
			if string(p) != "x" && err == nil {
				t.Errorf("read %q", p)
			}
			_, _ = s.Write([]byte("y"))
			read <- err
		}
		client := opened(serve)
		_, _ = client.Write([]byte("x"))
		_ = client.Close()
		if all, err := io.ReadAll(client); err != nil || string(all) != "y" {
			t.Errorf("%q, %v", all, err)
		}
		if err := <-read; err != nil {
			t.Error(err)
		}
		client = opened(serve)
		_, _ = client.Write([]byte("x"))
		client.Reset()
		if err := <-read; err == nil {
			t.Error("a reset looks like an end")
		}
	})
}

func TestOtherRequestsHaveNoProtocol(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header[":protocol"] = []string{"websocket"}
	connect := httptest.NewRequest(http.MethodConnect, "/", nil)
	for _, r := range []*http.Request{r, connect} {
		if p := tunnel.Protocol(r); p != "" {
			t.Errorf("%s %s: %q", r.Method, r.Proto, p)
		}
	}
}

func TestAWriterWithoutDeadlinesIsFreedByClosingItsBody(t *testing.T) {
	t.Parallel()
	body, w := io.Pipe()
	defer w.Close()
	r := httptest.NewRequest(http.MethodConnect, "/", body)
	s, err := tunnel.Open(httptest.NewRecorder(), r)
	if err != nil {
		t.Fatal(err)
	}
	read := make(chan error)
	go func() {
		_, err := s.Read(make([]byte, 1))
		read <- err
	}()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-read; !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}
