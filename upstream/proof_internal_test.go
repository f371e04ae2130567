//go:build linux && (amd64 || arm64)

package upstream

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

func TestARequestThatRacesTheCloseOfItsConnectionIsProvenUnreadOnlyIfItWas(t *testing.T) {
	for _, tc := range []struct {
		name   string
		tls    bool
		size   int
		blind  bool
		trials int
	}{
		{"looking before", false, 300, false, 1000},
		{"with the FIN on its way", false, 300, true, 3000},
		{"with a body and the FIN on its way", false, 20 << 10, true, 1000},
		{"over TLS, with the FIN on its way", true, 300, true, 300},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t, tc.tls)
			count, withoutFIN := tally{}, 0
			for range tc.trials {
				tr := b.connect(t)
				go tr.read()
				var o outcome
				meet(tr.serveOrClose, func() { o = tr.request(tc.size, tc.blind) })
				count.add(o, tr.received.Load())
				if o == unproven && tr.reset {
					withoutFIN++ // it had arrived before the close, which threw it away
				}
			}
			t.Logf("%v without a FIN: %d", count, withoutFIN)
			count.check(t)
			if p, u := count[proven][false], count[unproven][false]-withoutFIN; tc.blind && !tc.tls && p <= u {
				t.Errorf("of the requests that came after the FIN, %d were proven unread and %d were not", p, u)
			}
		})
	}
}

func TestARequestWrittenAfterTheFINIsProvenUnread(t *testing.T) {
	for _, tc := range []struct {
		name string
		tls  bool
		size int
	}{{"plain", false, 300}, {"with a body", false, 20 << 10}, {"over TLS", true, 300}} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t, tc.tls)
			count := tally{}
			for range 200 {
				tr := b.connect(t)
				_ = tr.server.Close()
				for tr.socket.quiet() { //nolint:revive // the FIN comes within microseconds
				}
				err := tr.write(tc.size, true)
				go tr.read()
				count.add(tr.outcome(err), tr.received.Load())
				if tr.socket.answered() {
					t.Error("a farewell was taken for an answer")
				}
			}
			t.Log(count)
			if count[proven][false] < 190 {
				t.Error("what was written to a closed connection is seldom proven unread")
			}
		})
	}
}

func TestARequestThatWasReadIsNeverProvenUnread(t *testing.T) {
	all := make([]byte, 300)
	for _, tc := range []struct {
		name string
		peer func(*trial)
	}{
		{"read, then reset", func(tr *trial) {
			_, _ = io.ReadFull(tr.server, all)
			tr.abort()
		}},
		{"read in part, then closed with a rest", func(tr *trial) {
			_, _ = tr.server.Read(all[:7])
			_ = tr.raw.Close()
		}},
		{"read, then closed", func(tr *trial) {
			_, _ = io.ReadFull(tr.server, all)
			_ = tr.raw.Close()
		}},
		{"read, one side ended, then reset", func(tr *trial) {
			_, _ = io.ReadFull(tr.server, all)
			_ = tr.raw.CloseWrite()
			tr.abort()
		}},
		{"one side ended with the request waiting, then read and reset", func(tr *trial) {
			for s := newSocket(tr.raw, false, nil); s.quiet(); { //nolint:revive // it comes within microseconds
			}
			_ = tr.raw.CloseWrite()
			_, _ = io.ReadFull(tr.server, all)
			tr.abort()
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t, false)
			count := tally{}
			for range 400 {
				tr := b.connect(t)
				go tr.read()
				var o outcome
				meet(func() { tc.peer(tr) }, func() { o = tr.request(len(all), true) })
				count.add(o, tr.received.Load())
			}
			t.Log(count)
			count.check(t)
			if count[unproven][true] < 350 {
				t.Error("the server read too few for this to show anything")
			}
		})
	}
}

// A server that has ended its side and reads on looks as one that has closed,
// for whom the kernel answers; it is found out by how it resets.
func TestARequestReadAfterItsServerEndedOneSideIsNotProvenUnread(t *testing.T) {
	all := make([]byte, 300)
	b := newBench(t, false)
	count := tally{}
	for i := range 100 {
		tr := b.connect(t)
		_ = tr.raw.CloseWrite()
		for tr.socket.quiet() { //nolint:revive // the FIN comes within microseconds
		}
		err := tr.write(len(all), true)
		if !filtered(tr.socket.raw) {
			t.Fatal("the socket has not looked")
		}
		_, _ = io.ReadFull(tr.server, all)
		tr.abort()
		if i%2 == 0 { // more of the request, which nobody is left to read
			_, _ = tr.client.Write(all)
		}
		go tr.read()
		count.add(tr.outcome(err), tr.received.Load())
	}
	t.Log(count)
	count.check(t)
}

// filtered reports whether the socket has a filter, or has gone.
func filtered(raw syscall.RawConn) bool {
	var n uint32 // of its instructions
	err := raw.Control(func(fd uintptr) {
		const soGetFilter = syscall.SO_ATTACH_FILTER
		_, _, _ = syscall.Syscall6(syscall.SYS_GETSOCKOPT, fd, syscall.SOL_SOCKET, soGetFilter,
			0, uintptr(unsafe.Pointer(&n)), 0) //nolint:gosec // syscall has no wrapper
	})
	return err != nil || n > 0
}

// forget makes the pool use idle connections although it has learned when
// their peer closes them.
func (p *Pool) forget() {
	for _, m := range *p.members.Load() {
		m.mu.Lock()
		m.patience = peerPatience{}
		m.mu.Unlock()
	}
}

func TestAPoolThatRacesTheIdleTimeoutOfItsEndpointExecutesNothingTwice(t *testing.T) {
	for _, encrypted := range []bool{false, true} {
		var mu sync.Mutex
		executed := make(map[string]int)
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			executed[r.URL.Path]++
		}))
		server.Config.IdleTimeout = 5 * time.Millisecond // about as long as the pauses below
		cfg := Config{Retry: Retry{KernelProof: true}}
		if encrypted {
			server.StartTLS()
			cfg.TLS = server.Client().Transport.(*http.Transport).TLSClientConfig
		} else {
			server.Start()
		}
		cfg.Endpoints = []string{server.URL}
		pool := must(New(cfg))
		const requests = 250
		failed := 0
		for i := range requests {
			pool.forget()
			path := "/" + strconv.Itoa(i)
			err := post(t, pool, server.URL+path)
			if err != nil {
				failed++
			}
			mu.Lock()
			if n := executed[path]; n > 1 || n == 0 && err == nil {
				t.Errorf("request %d was executed %d times, and the pool says: %v", i, n, err)
			}
			mu.Unlock()
			for at := time.Now().Add(time.Duration(4800+rand.IntN(500)) * time.Microsecond); time.Now().Before(at); {
				runtime.Gosched()
			}
		}
		t.Logf("TLS %v: %d of %d failed; sent again: %v", encrypted, failed, requests, pool.Snapshot().Retries)
		pool.Close()
		server.Close()
	}
}

func post(t *testing.T, rt http.RoundTripper, url string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	res, err := rt.RoundTrip(req)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, res.Body)
	return errors.Join(err, res.Body.Close())
}

// TestARequestThatMeetsTheDeathOfItsServerIsProvenUnreadOnlyIfItWas is both:
// the one that asks, and, started again by it, the server that is killed.
func TestARequestThatMeetsTheDeathOfItsServerIsProvenUnreadOnlyIfItWas(t *testing.T) {
	const role = "UPSTREAM_TEST_SERVER"
	if os.Getenv(role) != "" {
		dieServing()
		return
	}
	count := tally{}
	for range 5 {
		server := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$") //nolint:gosec // this very program
		server.Env = append(os.Environ(), role+"=1")
		said, err := server.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(said)
		lines.Scan()
		killed(t, server, lines, count)
	}
	t.Log(count)
	count.check(t)
}

// killed sends one request on each of many connections while their server is
// killed, and counts what became of them. lines are those it received.
func killed(t *testing.T, server *exec.Cmd, lines *bufio.Scanner, count tally) {
	t.Helper()
	address := lines.Text()
	const connections = 200
	trials := make([]*trial, connections)
	for i := range trials {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		tr := &trial{ended: make(chan bool, 1), socket: newSocket(c, true, nil)}
		tr.client = tr.socket
		tr.socket.begin()
		buf := make([]byte, 4)
		if _, err := fmt.Fprintf(tr.socket, "%03d\n", i); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(tr.socket, buf); err != nil {
			t.Fatal(err)
		}
		go tr.read()
		trials[i] = tr
	}
	errs := make([]error, connections)
	for i, tr := range trials { // while it dies, which takes a while
		if i == connections/4 {
			_ = server.Process.Signal(syscall.SIGKILL)
		}
		errs[i] = tr.write(300, true)
	}
	outcomes := make([]outcome, connections)
	for i, tr := range trials {
		outcomes[i] = tr.outcome(errs[i])
	}
	received := make(map[int]int)
	for lines.Scan() {
		i, err := strconv.Atoi(lines.Text())
		if err != nil {
			t.Fatal(err)
		}
		received[i]++
	}
	_ = server.Wait() // it was killed
	for i, o := range outcomes {
		count.add(o, received[i] > 1)
	}
}

// dieServing writes the number of each connection that it receives something
// on, and never ends by itself for long.
func dieServing() {
	l := must((&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0"))
	fmt.Println(l.Addr())
	for {
		c := must(l.Accept())
		go func() {
			first, buf := "", make([]byte, 300)
			for {
				n, err := c.Read(buf)
				if err != nil {
					return
				}
				if first == "" {
					first = string(buf[:n])
				}
				_, _ = os.Stdout.WriteString(first)
				_, _ = c.Write([]byte("pong"))
			}
		}()
	}
}
