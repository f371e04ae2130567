package listen_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/fairlead-edge/fairlead/internal/memnet"
	"github.com/fairlead-edge/fairlead/listen"
)

func TestAConnectionThatIsTakenOverKeepsItsPlaceUntilItIsReleased(t *testing.T) {
	simulated(t, func(t *testing.T) {
		l := &from{memnet.New(), func() net.Addr { return &net.TCPAddr{IP: net.ParseIP("192.0.2.1")} }}
		var lease listen.Lease
		s := serveOn(t, l, listen.Config{Limits: listen.Limits{Connections: 2, PerAddress: 1}}, func(w http.ResponseWriter, r *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			lease = listen.Detach(r.Context())
			_ = conn.Close()
		})
		taken := dial1(t, l.Network)
		taken.send(plain)
		if err := taken.ended(); err != io.EOF {
			t.Fatal(err)
		}
		synctest.Wait()
		if got, want := s.Stats(), (listen.Stats{HTTP1: 1, Opened: 1}); got != want || s.Listed() != 0 {
			t.Errorf("when net/http has let go: %+v, want %+v; %d are listed", got, want, s.Listed())
		}
		second := dial1(t, l.Network)
		second.send(plain)
		if resp, _ := second.answer("GET"); resp.StatusCode != http.StatusTooManyRequests {
			t.Errorf("another one of its address: %s", resp.Status)
		}
		lease.Release()
		lease.Release()
		synctest.Wait()
		if got, want := s.Stats(), (listen.Stats{Opened: 2, Closed: 2, PerAddress: 1}); got != want {
			t.Errorf("when it was released: %+v, want %+v", got, want)
		}
		third := dial1(t, l.Network)
		third.send(plain)
		if err := third.ended(); err != io.EOF {
			t.Errorf("where there is room again: %v", err)
		}
		lease.Release()
		if got := s.Stats(); got.HTTP1 != 0 || got.PerAddress != 1 {
			t.Errorf("%+v", got)
		}
	})
}

func TestAConnectionThatNobodyCanTakeOverKeepsItsOwnPlace(t *testing.T) {
	simulated(t, func(t *testing.T) {
		n := memnet.New()
		s := serveOn(t, n, listen.Config{}, func(_ http.ResponseWriter, r *http.Request) {
			lease := listen.Detach(r.Context())
			lease.Release()
		})
		two := dial2(t, n)
		two.ask("GET", "/", true)
		synctest.Wait()
		if got, want := s.Stats(), (listen.Stats{HTTP2: 1, Opened: 1}); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	})
	lease := listen.Detach(context.Background())
	lease.Release()
}

func TestOnlyAPlainConnectionShowsItsDescriptor(t *testing.T) {
	t.Parallel()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		l    net.Listener
		tls  bool
		want error
	}{
		{"TCP", tcp, false, nil},
		{"TLS", memnet.New(), true, errors.ErrUnsupported},
		{"no socket", memnet.New(), false, errors.ErrUnsupported},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cfg, dial := listen.Config{}, func() (net.Conn, error) { return net.Dial("tcp", c.l.Addr().String()) }
			if n, ok := c.l.(*memnet.Network); ok {
				dial = func() (net.Conn, error) { return n.Dial(t.Context(), "", "") }
			}
			if c.tls {
				certs, roots := h3Certificate(t)
				cfg.TLS = &listen.TLS{Certificates: certs}
				plain := dial
				dial = func() (net.Conn, error) {
					conn, err := plain()
					return tls.Client(conn, &tls.Config{RootCAs: roots, ServerName: "localhost"}), err
				}
			}
			answers := make(chan error, 1)
			serveOn(t, c.l, cfg, func(w http.ResponseWriter, _ *http.Request) { answers <- showDescriptor(w) })
			conn, err := dial()
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, plain); err != nil {
				t.Fatal(err)
			}
			if got := <-answers; !errors.Is(got, c.want) {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}

// showDescriptor takes a connection over and uses its descriptor.
func showDescriptor(w http.ResponseWriter) error {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return err
	}
	defer conn.Close()
	c, ok := conn.(syscall.Conn)
	if !ok {
		return errors.ErrUnsupported
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Control(func(uintptr) {})
}
