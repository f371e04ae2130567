//go:build unix

package listen_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/fairlead-edge/fairlead/listen"
)

// descendant, set in the environment, makes TestSockets the process that is
// given sockets: it listens as the variable says and tells how that went.
const descendant = "FAIRLEAD_TEST_SOCKETS"

// listening is what such a process does: names and addresses, in order.
func listening(t *testing.T, script string) {
	t.Helper()
	var warnings bytes.Buffer
	s, err := listen.Inherit(slog.New(slog.NewTextHandler(&warnings, nil)))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range os.Environ() {
		if strings.HasPrefix(name, "LISTEN_") || strings.HasPrefix(name, "FAIRLEAD_LISTEN_") {
			t.Error("left in the environment:", name)
		}
	}
	if f := s.File("pipe"); f != nil {
		_, _ = f.WriteString("hello")
		_ = f.Close()
	}
	for step := range strings.SplitSeq(script, ",") {
		name, address, _ := strings.Cut(step, "=")
		if udp, ok := strings.CutPrefix(name, "udp:"); ok {
			c, err := s.ListenPacket(t.Context(), udp, address)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if given := c.LocalAddr().String() == address; given != s.Given(c) { // to bind it again would fail
				t.Errorf("%s given: %v", name, !given)
			}
			fmt.Println("at", name, c.LocalAddr())
			continue
		}
		l, err := s.Listen(t.Context(), name, address)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		fmt.Println("at", name, l.Addr())
		if c, err := l.Accept(); err == nil {
			_, _ = io.WriteString(c, name)
			_ = c.Close()
		}
	}
	s.CloseUnused()
	fmt.Println("warned", warnings.String())
}

// run starts this test anew, given descriptors.
func descend(t *testing.T, script string, d listen.Descriptors, shell bool) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestSockets$", "-test.v")
	if shell { // only the process itself knows its id
		cmd = exec.CommandContext(t.Context(), "sh", "-c", `LISTEN_PID=$$ exec "$0" "$@"`, os.Args[0], "-test.run=^TestSockets$", "-test.v")
	}
	cmd.ExtraFiles = d.Files
	cmd.Env = append(append(os.Environ(), d.Env...), descendant+"="+script)
	out, err := cmd.CombinedOutput()
	_ = d.Close()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// bound returns a listener and, sent to it, a connection that waits.
func bound(t *testing.T, s *listen.Sockets, name string) (l net.Listener, c net.Conn) {
	t.Helper()
	l, err := s.Listen(t.Context(), name, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if c, err = new(net.Dialer).DialContext(t.Context(), "tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return l, c
}

func said(t *testing.T, c net.Conn, want string) {
	t.Helper()
	if got, err := io.ReadAll(c); err != nil || string(got) != want {
		t.Errorf("the connection got %q, %v, want %q", got, err, want)
	}
}

func sockets(t *testing.T) *listen.Sockets {
	t.Helper()
	s, err := listen.Inherit(nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSockets(t *testing.T) {
	if script := os.Getenv(descendant); script != "" {
		listening(t, script)
		return
	}
	s := sockets(t)
	http, c := bound(t, s, "http")
	admin, other := bound(t, s, "admin")
	udp, err := s.ListenPacket(t.Context(), "https", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	if s.Given(udp) {
		t.Error("a socket that was bound here was given")
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	idle, c0 := bound(t, s, "idle")
	accepting := make(chan error)
	go func() {
		for {
			c, err := idle.Accept()
			if err != nil {
				accepting <- err
				return
			}
			_ = c.Close()
		}
	}()
	said(t, c0, "")
	d := s.Descriptors(map[string]*os.File{"pipe": w})
	_, _ = http.Close(), admin.Close() // connections that wait live on in the copies
	script := fmt.Sprintf("http=localhost:%d,admin=%s,udp:https=%s", port(http), admin.Addr(), udp.LocalAddr())
	out := descend(t, script, d, false)
	for _, want := range []string{"at http " + http.Addr().String(), "at admin " + admin.Addr().String(), "at udp:https " + udp.LocalAddr().String()} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing:\n%s", want, out)
		}
	}
	if c, err := new(net.Dialer).DialContext(t.Context(), "tcp", idle.Addr().String()); err == nil {
		said(t, c, "") // accepted, and the next is waited for
	}
	_ = idle.Close()
	if err := <-accepting; !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	said(t, c, "http")
	said(t, other, "admin")
	said2, err := io.ReadAll(r)
	if string(said2) != "hello" {
		t.Errorf("through the pipe: %q, %v", said2, err)
	}
	_ = r.Close()
}

func port(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }

func TestASocketFromSystemdIsUsedByItsNameOrItsAddress(t *testing.T) {
	s := sockets(t)
	http, c := bound(t, s, "http")
	unnamed, other := bound(t, s, "fairlead.socket")
	unused, _ := bound(t, s, "surplus")
	defer http.Close()
	defer unnamed.Close()
	defer unused.Close()
	d := s.Descriptors(nil)
	d.Env = []string{"LISTEN_FDS=3", "LISTEN_FDNAMES=http:fairlead.socket:surplus"}
	out := descend(t, fmt.Sprintf("http=127.0.0.1:1,admin=localhost:%d", port(unnamed)), d, true)
	for _, want := range []string{
		"at http " + http.Addr().String(), "in the place of the configured address", "configured=127.0.0.1:1",
		"at admin " + unnamed.Addr().String(), "name=surplus address=" + unused.Addr().String(),
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing:\n%s", want, out)
		}
	}
	said(t, c, "http")
	said(t, other, "admin")
}

func TestSocketsMeantForAnotherProcessAreLeftAlone(t *testing.T) {
	t.Setenv("LISTEN_FDS", "1000000")
	t.Setenv("LISTEN_PID", "1")
	s := sockets(t)
	l, err := s.Listen(t.Context(), "http", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := os.LookupEnv("LISTEN_FDS"); ok {
		t.Error("children would take them for theirs")
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if d := s.Descriptors(nil); len(d.Files) != 0 {
		t.Errorf("a closed socket is handed on: %v", d.Env)
	}
}

func TestABadCountOfSocketsIsAnError(t *testing.T) {
	for _, count := range []string{"-1", "x", "65"} {
		t.Setenv("LISTEN_FDS", count)
		t.Setenv("LISTEN_PID", fmt.Sprint(os.Getpid()))
		if _, err := listen.Inherit(nil); err == nil || !strings.Contains(err.Error(), "LISTEN_FDS") {
			t.Errorf("LISTEN_FDS=%s: %v", count, err)
		}
	}
}
