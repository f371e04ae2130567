package upstream

import (
	"errors"
	"io"
	"net"
	"runtime"
	"syscall"
	"testing"
)

// loop returns both ends of a TCP connection over the loopback interface.
func loop(t testing.TB) (client, server *net.TCPConn) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(); _ = s.Close() })
	return c.(*net.TCPConn), s.(*net.TCPConn)
}

// arrived waits until what the peer has done has reached the socket.
func arrived(s *socket) bool {
	for s.quiet() {
		runtime.Gosched() // over the loopback interface it takes microseconds
	}
	return true
}

func TestASocketIsQuietUntilItsPeerSpeaksOrGoes(t *testing.T) {
	if runtime.GOOS != "linux" {
		return // quiet is always true there
	}
	for name, act := range map[string]func(*net.TCPConn) error{
		"it speaks":      func(c *net.TCPConn) error { _, err := c.Write([]byte("x")); return err },
		"it closes":      (*net.TCPConn).Close,
		"it ends a side": (*net.TCPConn).CloseWrite,
		"it resets":      func(c *net.TCPConn) error { return errors.Join(c.SetLinger(0), c.Close()) },
	} {
		t.Run(name, func(t *testing.T) {
			client, server := loop(t)
			s := newSocket(client, false, nil)
			read := make(chan error, 1)
			if name != "it speaks" { // a Read under way holds what quiet must not need
				go func() {
					_, err := s.Read(make([]byte, 1))
					read <- err
				}()
			}
			if !s.quiet() {
				t.Fatal("it is not quiet although nothing happened")
			}
			if err := act(server); err != nil {
				t.Fatal(err)
			}
			if name == "it resets" {
				<-read // which takes the error: what is left is an end
			}
			arrived(s)
			_ = s.Close()
			if s.quiet() {
				t.Error("it is quiet once closed")
			}
		})
	}
}

func TestAConnectionThatIsNoSystemsSocketIsQuiet(t *testing.T) {
	client, server := net.Pipe()
	_ = server.Close()
	s := newSocket(client, true, nil)
	if !s.quiet() || s.unread() {
		t.Error("something was told of a connection that tells nothing")
	}
	if err := s.CloseWrite(); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("CloseWrite of a pipe: %v", err)
	}
	_ = s.Close()
}

func TestASocketCountsWhatPassesAndSinceWhen(t *testing.T) {
	client, server := loop(t)
	s := newSocket(client, false, nil)
	say := func(want bool, of string, got bool) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %v", of, got)
		}
	}
	for range 2 {
		s.begin()
		say(false, "wrote", s.wrote())
		if _, err := s.Write([]byte("ping!")); err != nil {
			t.Fatal(err)
		}
		say(true, "wrote", s.wrote())
		say(false, "answered", s.answered())
		if _, err := io.CopyN(server, server, 5); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(s, make([]byte, 5)); err != nil {
			t.Fatal(err)
		}
		say(true, "answered", s.answered())
	}
	if r, w := s.bytes(); r != 10 || w != 10 {
		t.Errorf("read %d, written %d; both were 10", r, w)
	}
	_ = s.Close()
	s.begin()
	if _, err := s.Write([]byte("ping!")); err == nil || s.wrote() {
		t.Errorf("a write to a closed socket: %v, and counted: %v", err, s.wrote())
	}
}

func TestARequestIsNotWrittenToAPeerThatHasClosed(t *testing.T) {
	if runtime.GOOS != "linux" {
		return // nobody can look there
	}
	client, server := loop(t)
	s := newSocket(client, false, nil)
	s.begin()
	if _, err := s.Write([]byte("first")); err != nil {
		t.Fatal(err)
	}
	s.begin()
	if _, err := io.ReadFull(server, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	_ = server.Close()
	arrived(s)
	for range 2 { // the request, and TLS's farewell
		if n, err := s.Write([]byte("second")); n != 0 || !errors.Is(err, errStale) {
			t.Errorf("Write: %d, %v", n, err)
		}
	}
	if s.wrote() || s.unread() {
		t.Error("what was not written counts as written, or as written and not read")
	}
}

func TestTheFirstRequestMayMeetWhatItsPeerSaysAfterTheHandshake(t *testing.T) {
	client, server := loop(t)
	s := newSocket(client, false, nil)
	if _, err := server.Write([]byte("session ticket")); err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS == "linux" {
		arrived(s)
	}
	s.begin()
	if _, err := s.Write([]byte("request")); err != nil {
		t.Error(err)
	}
}

func TestASocketClosesOnceAndSaysSo(t *testing.T) {
	client, _ := loop(t)
	closed := 0
	s := newSocket(client, true, func() { closed++ })
	for range 3 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if closed != 1 {
		t.Errorf("closed was called %d times", closed)
	}
	if _, err := client.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the connection below is not closed: %v", err)
	}
}

func TestCloseWriteEndsOneSide(t *testing.T) {
	client, server := loop(t)
	s := newSocket(client, false, nil)
	if err := s.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := server.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the peer reads: %v", err)
	}
	if _, err := server.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read(make([]byte, 1)); err != nil {
		t.Errorf("the other side: %v", err)
	}
}

// foreign writes something else than it is given.
type foreign struct{ *net.TCPConn }

func TestAConnectionOfSomebodyElsesTypeIsNotProven(t *testing.T) {
	client, _ := loop(t)
	var c net.Conn = foreign{client}
	if _, ok := c.(syscall.Conn); !ok {
		t.Fatal("the test needs a connection that leads to its socket")
	}
	if newSocket(c, true, nil).prove {
		t.Error("bytes are compared that need not be the same")
	}
}

// BenchmarkSocket is one byte there and back over the loopback interface, on
// the bare connection and on a socket with its look before each request.
func BenchmarkSocket(b *testing.B) {
	for _, bc := range []struct {
		name        string
		bare, prove bool
	}{{"bare", true, false}, {"socket", false, false}, {"proving", false, true}} {
		b.Run(bc.name, func(b *testing.B) {
			client, server := loop(b)
			s := newSocket(client, bc.prove, nil)
			var c net.Conn = s
			if bc.bare {
				c = client
			}
			p := make([]byte, 1)
			b.ReportAllocs()
			for b.Loop() {
				s.begin()
				_, err := c.Write(p)
				_, err1 := server.Read(p)
				_, err2 := server.Write(p)
				_, err3 := c.Read(p)
				if err := errors.Join(err, err1, err2, err3); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkQuiet(b *testing.B) {
	client, _ := loop(b)
	s := newSocket(client, false, nil)
	b.ReportAllocs()
	for b.Loop() {
		if !s.quiet() {
			b.Fatal("it is not quiet")
		}
	}
}
