//go:build unix

package listen_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fairlead-edge/fairlead/listen"
)

// fewDescriptors says that the test's process is the server with few of them.
const fewDescriptors = "FAIRLEAD_TEST_FEW_DESCRIPTORS"

func TestWithoutADescriptorClientsAreRefusedAndLaterServedAgain(t *testing.T) {
	t.Parallel()
	if os.Getenv(fewDescriptors) != "" {
		serveWithFewDescriptors(t)
		return
	}
	server := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$") //nolint:gosec // this test
	server.Env = append(os.Environ(), fewDescriptors+"=1")
	var log bytes.Buffer
	server.Stderr = &log
	in, err1 := server.StdinPipe()
	out, err2 := server.StdoutPipe()
	if err := errors.Join(err1, err2, server.Start()); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	addr, err := lines.ReadString('\n')
	if err != nil {
		t.Fatalf("the server did not start: %v, %s", err, &log)
	}
	addr = strings.TrimSpace(addr)

	var open []net.Conn
	refused := 0
	for range 60 {
		conn, _, err := askStats(t, addr)
		switch {
		case err == nil:
			open = append(open, conn)
		case errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE):
			refused++
		default:
			t.Errorf("not refused: %v", err)
		}
	}
	if len(open) < 10 || refused < 10 {
		t.Errorf("%d served, %d refused", len(open), refused)
	}
	for _, c := range open[:5] {
		_ = c.Close()
	}
	var stats listen.Stats
	for err = errors.New("not asked"); err != nil && t.Context().Err() == nil; {
		_, stats, err = askStats(t, addr)
	}
	if stats.Full < 10 || stats.Full != stats.Dropped || stats.Opened-stats.Closed != uint64(stats.HTTP1) {
		t.Errorf("%+v", stats)
	}
	_ = in.Close()
	_, _ = io.Copy(io.Discard, lines)
	if err := server.Wait(); err != nil || strings.Count(log.String(), "no file descriptor is left") != 1 {
		t.Errorf("%v, log: %s", err, &log)
	}
}

// askStats asks a server on a connection of its own.
func askStats(t *testing.T, addr string) (net.Conn, listen.Stats, error) {
	t.Helper()
	var s listen.Stats
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, s, err
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, plain); err != nil {
		return nil, s, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return nil, s, err
	}
	defer resp.Body.Close()
	err = json.NewDecoder(resp.Body).Decode(&s)
	return conn, s, err
}

// serveWithFewDescriptors serves until its standard input ends.
func serveWithFewDescriptors(t *testing.T) {
	t.Helper()
	var limit syscall.Rlimit
	err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit)
	limit.Cur = 40
	l, err2 := net.Listen("tcp", "127.0.0.1:0")
	if err := errors.Join(err, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit), err2); err != nil {
		t.Fatal(err)
	}
	var s *listen.Server
	s = serveOn(t, l, listen.Config{
		Limits: listen.Limits{Connections: 1000}, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}, func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(s.Stats()) })
	fmt.Println(l.Addr())
	_, _ = io.Copy(io.Discard, os.Stdin)
}
