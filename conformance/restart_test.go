package conformance_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// lineage is fairlead and the processes that it hands over to, one after the
// other, which share their output.
type lineage struct {
	t                  *testing.T
	http, https, admin string // base URLs, which stay the same
	lines              chan string
	ended              chan struct{} // closed when all have
	err                error         // of the first one, once they have

	mu   sync.Mutex
	pid  int         // of the newest
	pids map[int]int // how often each was handed over to: once
	log  []string    // without requests
}

// handedOver is what an older process logs of a newer one.
var handedOver = regexp.MustCompile(`"msg":"handed over","pid":(\d+)`)

// https is the configuration of a listener with the authority's certificate.
func (a *pki) https(t *testing.T) string {
	t.Helper()
	return "https: 127.0.0.1:0\ntls: {certificates: [{cert: " + file(t, "cert.pem", a.leaf) + ", key: " + file(t, "key.pem", a.key) + "}]}\n"
}

// found starts fairlead with a configuration, on free ports.
func found(t *testing.T, config string) *lineage {
	t.Helper()
	path := file(t, "fairlead.yaml", config)
	cmd := exec.Command(binary, "serve", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--config", path)
	return foundAs(t, cmd)
}

// foundAs starts a command that is, or becomes, fairlead.
func foundAs(t *testing.T, cmd *exec.Cmd) *lineage {
	t.Helper()
	l := &lineage{t: t, lines: make(chan string, 1000), ended: make(chan struct{}), pids: make(map[int]int)}
	cmd.Env = append(os.Environ(), append(cmd.Env, "GORACE=atexit_sleep_ms=0")...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	log, w := io.Pipe()
	cmd.Stderr = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	l.pid = cmd.Process.Pid
	var reading sync.WaitGroup
	reading.Go(func() { l.watch(log) })
	go func() {
		defer close(l.ended)
		for s := bufio.NewScanner(out); s.Scan(); {
			l.lines <- s.Text()
		}
		l.err = cmd.Wait()
		_ = w.Close()
		reading.Wait()
	}()
	t.Cleanup(l.end)
	l.awaitReady()
	return l
}

// watch keeps what the processes log, and which is the newest.
func (l *lineage) watch(log io.Reader) {
	in := bufio.NewReader(log)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		if strings.Contains(line, `"msg":"request"`) {
			continue
		}
		l.mu.Lock()
		l.log = append(l.log, line)
		if m := handedOver.FindStringSubmatch(line); m != nil {
			l.pid, _ = strconv.Atoi(m[1])
			l.pids[l.pid]++
		}
		l.mu.Unlock()
	}
}

// end lets all drain, and expects the first to have exited with 0.
func (l *lineage) end() {
	l.signal(syscall.SIGTERM)
	select {
	case <-l.ended:
	case <-time.After(2 * patience):
		l.signal(syscall.SIGKILL)
		l.t.Error("fairlead did not end when asked to")
	}
	log := l.text()
	if l.err != nil {
		l.t.Errorf("the first process did not exit with 0: %v", l.err)
	}
	if strings.Contains(log, "DATA RACE") || strings.Contains(log, "panic") || strings.Contains(log, "deadline passed") {
		l.t.Error("fairlead raced, panicked, or cut something off")
	}
	if l.t.Failed() {
		l.t.Log(log)
	}
}

func (l *lineage) signal(s syscall.Signal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = syscall.Kill(l.pid, s) // it may have ended
}

func (l *lineage) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.log, "")
}

// generations is how often one process has handed over to another.
func (l *lineage) generations() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.pids)
}

// awaitReady reads the addresses of a process that has just begun.
func (l *lineage) awaitReady() {
	l.t.Helper()
	for {
		select {
		case line := <-l.lines:
			name, url, _ := strings.Cut(line, " ")
			switch name {
			case "http":
				l.same(&l.http, url)
			case "https":
				l.same(&l.https, url)
			case "admin":
				l.same(&l.admin, url)
			case "ready":
				return
			}
		case <-l.ended:
			l.t.Fatalf("fairlead ended early:\n%s", l.text())
		case <-time.After(patience):
			l.t.Fatalf("fairlead is not ready:\n%s", l.text())
		}
	}
}

func (l *lineage) same(have *string, url string) {
	if *have != "" && *have != url {
		l.t.Errorf("the address was %s and is %s", *have, url)
	}
	*have = url
}

// restart lets the newest process hand over to another.
func (l *lineage) restart() {
	l.t.Helper()
	n := l.generations()
	l.signal(syscall.SIGUSR2)
	l.awaitReady()
	l.await("the older process hands over", func() bool { return l.generations() > n })
}

// await waits until cond holds.
func (l *lineage) await(what string, cond func() bool) {
	l.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(patience); !cond(); {
		select {
		case <-tick.C:
		case <-late:
			l.t.Fatalf("waited in vain until %s", what)
		}
	}
}

// load sends requests until it is told to stop, and counts.
type load struct {
	address            string
	connects, requests atomic.Int64

	mu       sync.Mutex
	failures []string
}

func (l *load) failed(what string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failures = append(l.failures, fmt.Sprintf("%s: %v", what, err))
}

// client is one HTTP/1.1 client. Unlike net/http's it tries nothing again, so
// that it hides nothing: a connection that ends without a word is a failure.
func (l *load) client(ctx context.Context, keep bool, pause time.Duration) {
	var c net.Conn
	var in *bufio.Reader
	for ; ctx.Err() == nil; wait(ctx, pause) {
		if c == nil {
			var err error
			if c, err = net.Dial("tcp", l.address); err != nil {
				l.failed("connect", err)
				continue
			}
			l.connects.Add(1)
			in = bufio.NewReader(c)
		}
		closing, err := l.exchange(c, in, keep)
		if err != nil {
			l.failed("request", err)
		}
		if closing || !keep || err != nil {
			_ = c.Close()
			c = nil
		}
	}
	if c != nil {
		_ = c.Close()
	}
}

func (l *load) exchange(c net.Conn, in *bufio.Reader, keep bool) (closing bool, err error) {
	head := "GET /plain HTTP/1.1\r\nHost: localhost\r\n"
	if !keep {
		head += "Connection: close\r\n"
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err = io.WriteString(c, head+"\r\n"); err != nil {
		return true, err
	}
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		return true, err
	}
	defer res.Body.Close()
	l.requests.Add(1)
	return res.Close, intact(res)
}

// intact reads an answer.
func intact(res *http.Response) error {
	text, err := io.ReadAll(res.Body)
	if err == nil && (res.StatusCode != http.StatusOK || string(text) != "whole") {
		err = fmt.Errorf("%s %.60q", res.Status, text)
	}
	return err
}

// multiplexed is one client of HTTP/2 or 3.
func (l *load) multiplexed(ctx context.Context, what string, c *http.Client, base string, pause time.Duration) {
	for ; ctx.Err() == nil; wait(ctx, pause) {
		res, err := c.Get(base + "/plain") //nolint:noctx // it shall not be cut off
		if err == nil {
			l.requests.Add(1)
			err = intact(res)
			_ = res.Body.Close()
		}
		if err != nil {
			l.failed(what, err)
		}
	}
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// connects is how many connections a restart must not fail.
const connects = 10_000

func TestARestartUnderLoadFailsNoConnectionAndNoRequest(t *testing.T) {
	t.Parallel()
	a := authority()
	l := found(t, a.https(t)+proxies(upstream(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "whole") })), "1s"))
	load := &load{address: strings.TrimPrefix(l.http, "http://")}
	ctx, cancel := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() { load.client(ctx, false, 0) })
	}
	for range 4 {
		clients.Go(func() { load.client(ctx, true, 3*time.Millisecond) })
	}
	for _, p := range []protocol{h2, h2c, h3} {
		for range 2 {
			c, base := p.client(t, a.tls()), l.https
			if p == h2c {
				base = l.http
			}
			clients.Go(func() { load.multiplexed(ctx, p.name, c, base, 3*time.Millisecond) })
		}
	}
	for _, part := range []int64{connects / 4, connects / 2, connects * 3 / 4} {
		l.awaitConnects(load, part)
		l.restart()
	}
	l.awaitConnects(load, connects)
	cancel()
	clients.Wait()
	t.Logf("%d connects, %d requests, %d restarts, %d failures", load.connects.Load(), load.requests.Load(), l.generations(), len(load.failures))
	for i, failure := range load.failures {
		if t.Error(failure); i == 20 {
			break
		}
	}
}

// awaitConnects waits as long as it takes, provided that it goes on.
func (l *lineage) awaitConnects(load *load, n int64) {
	l.t.Helper()
	for before := int64(-1); load.connects.Load() < n; {
		now := load.connects.Load()
		if now == before {
			l.t.Fatalf("after %d connections there were no more", now)
		}
		before = now
		next := min(now+200, n)
		l.await("there are more connections", func() bool { return load.connects.Load() >= next })
	}
}

func TestAProgramThatDoesNotStartChangesNothing(t *testing.T) {
	t.Parallel()
	path := file(t, "fairlead.yaml", "drain: {window: 100ms}\n")
	l := foundAs(t, exec.Command(binary, "serve", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--config", path))
	write := func(config string) {
		if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("nonsense: {}\n")
	for n := range 2 {
		l.signal(syscall.SIGUSR2)
		l.await("it says why", func() bool { return strings.Count(l.text(), "the hand-over failed") > n })
	}
	if code, _ := status(t, l.admin+"/readyz"); code != "200" {
		t.Errorf("it is not ready any more: %s", code)
	}
	write("drain: {window: 200ms}\n")
	l.restart()
	if code, _ := status(t, l.admin+"/readyz"); code != "200" {
		t.Errorf("the new process is not ready: %s", code)
	}
}

func TestTheProgramIsFoundAnewByThePathThatLeadsToIt(t *testing.T) {
	t.Parallel()
	link := filepath.Join(t.TempDir(), "fairlead")
	lead := func(to string) {
		next := link + ".next"
		if err := errors.Join(os.Symlink(to, next), os.Rename(next, link)); err != nil {
			t.Fatal(err)
		}
	}
	lead(binary)
	path := file(t, "fairlead.yaml", "drain: {window: 100ms}\n")
	l := foundAs(t, exec.Command(link, "serve", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--config", path))
	lead(file(t, "release-2", "no program"))
	l.signal(syscall.SIGUSR2)
	l.await("it says why", func() bool { return strings.Contains(l.text(), "the hand-over failed") })
	lead(binary)
	l.restart()
}

func TestATerminatedProcessGivesUpItsHandOver(t *testing.T) {
	t.Parallel()
	path := file(t, "fairlead.yaml", "drain: {window: 100ms}\n")
	l := foundAs(t, exec.Command(binary, "serve", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--config", path))
	if err := errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600)); err != nil {
		t.Fatal(err)
	}
	l.signal(syscall.SIGUSR2)
	l.await("it begins", func() bool { return strings.Contains(l.text(), `"msg":"hand over"`) })
	l.end() // which waits for the new process too
}

func TestASecondHandOverWaitsForTheFirst(t *testing.T) {
	t.Parallel()
	path := file(t, "fairlead.yaml", "drain: {window: 100ms}\n")
	l := foundAs(t, exec.Command(binary, "serve", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--config", path))
	// The new process does not come further than to its configuration.
	if err := errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600)); err != nil {
		t.Fatal(err)
	}
	l.signal(syscall.SIGUSR2)
	l.await("it begins", func() bool { return strings.Contains(l.text(), `"msg":"hand over"`) })
	l.signal(syscall.SIGUSR2)
	l.await("it refuses", func() bool { return strings.Contains(l.text(), "in progress already") })
	w, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.WriteString(w, "drain: {window: 100ms}\n")
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	l.awaitReady()
	l.await("it is handed over", func() bool { return l.generations() == 1 })
}

func TestSystemdsSocketsAreServed(t *testing.T) {
	t.Parallel()
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	early, err := net.Dial("tcp", socket.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer early.Close()
	f, err := socket.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	_ = socket.Close()
	manager := filepath.Join(t.TempDir(), "notify")
	told, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: manager, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer told.Close()
	cmd := exec.Command("sh", "-c", `LISTEN_PID=$$ exec "$0" "$@"`, binary, "serve", "--http", "127.0.0.1:1", "--admin", "127.0.0.1:0")
	cmd.ExtraFiles = []*os.File{f}
	cmd.Env = []string{"LISTEN_FDS=1", "LISTEN_FDNAMES=http", "NOTIFY_SOCKET=" + manager}
	l := foundAs(t, cmd)
	_ = f.Close()
	if want := "http://" + socket.Addr().String(); l.http != want {
		t.Errorf("it serves %s, want the given %s", l.http, want)
	}
	notified(t, told, "READY=1")
	l.restart() // of an address that is still not the configured one
	notified(t, told, fmt.Sprintf("MAINPID=%d\nREADY=1", l.pid))
	fmt.Fprint(early, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
	if res, err := http.ReadResponse(bufio.NewReader(early), nil); err != nil || res.StatusCode != http.StatusOK {
		t.Errorf("who connected before it was started: %v, %v", res, err)
	}
	l.signal(syscall.SIGTERM)
	notified(t, told, "STOPPING=1")
}

func notified(t *testing.T, from *net.UnixConn, want string) {
	t.Helper()
	b := make([]byte, 1000)
	_ = from.SetReadDeadline(time.Now().Add(patience))
	if n, err := from.Read(b); err != nil || string(b[:n]) != want {
		t.Errorf("the service manager was told %q, %v, want %q", b[:n], err, want)
	}
}
