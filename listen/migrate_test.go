//go:build linux

package listen_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/quic-go/quic-go/http3"

	"github.com/fairlead-edge/fairlead/internal/leak"
	"github.com/fairlead-edge/fairlead/listen"
)

// process is a server with a handler that says which one it is, and echoes.
func process(name string, previous *os.File) listen.Config {
	return listen.Config{
		QUIC: listen.QUIC{Previous: previous},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintln(w, name)
			in := bufio.NewScanner(r.Body)
			for {
				_ = http.NewResponseController(w).Flush()
				if !in.Scan() {
					return
				}
				fmt.Fprintln(w, name, in.Text())
			}
		}),
	}
}

// successor starts a process that takes over the UDP socket of another.
func successor(t *testing.T, h *h3Server, name string) *h3Server {
	t.Helper()
	pair, err := h.HandOverQUIC()
	for err != nil && t.Context().Err() == nil {
		runtime.Gosched() // until the end of the successor before was noticed
		pair, err = h.HandOverQUIC()
	}
	if err != nil {
		t.Fatal(err)
	}
	file, err := h.udp.File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	udp, err := net.FilePacketConn(file)
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return startH3On(t, process(name, pair), tcp, udp.(*net.UDPConn))
}

// dialog is a request that is under way in both directions.
type dialog struct {
	t  *testing.T
	in *io.PipeWriter
	r  *bufio.Reader
}

func talk(t *testing.T, c *http.Client, url string) *dialog {
	t.Helper()
	body, in := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	req, _ := http.NewRequestWithContext(ctx, http.MethodPost, url, body)
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = res.Body.Close()
	})
	return &dialog{t, in, bufio.NewReader(res.Body)}
}

func (d *dialog) expect(want string) {
	d.t.Helper()
	if line, err := d.r.ReadString('\n'); line != want+"\n" || err != nil {
		d.t.Fatalf("got %q, %v; want %q", line, err, want)
	}
}

func (d *dialog) say(msg string) { _, _ = io.WriteString(d.in, msg+"\n") }

func TestConnectionsGoOnWhileAnotherProcessTakesTheUDPSocketOver(t *testing.T) {
	for name, addr := range map[string]*net.UDPAddr{"of one address": {IP: net.IPv4(127, 0, 0, 1)}, "of all addresses": {}} {
		t.Run(name, func(t *testing.T) { takeOverTwice(t, addr) })
	}
}

func takeOverTwice(t *testing.T, addr *net.UDPAddr) {
	t.Helper()
	leak.Check(t)
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	udp, err := net.ListenUDP("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	processes := []*h3Server{startH3On(t, process("p0", nil), tcp, udp)}
	var dialogs []*dialog
	for i := range 3 {
		h := processes[i]
		if i > 0 {
			processes[i-1].StopAccepting() // it would still be right to accept
		}
		dialogs = append(dialogs, talk(t, h.client(t), h.url))
		if i < 2 {
			processes = append(processes, successor(t, h, fmt.Sprint("p", i+1)))
		}
	}
	for i, d := range dialogs {
		d.expect(fmt.Sprint("p", i))
	}
	// All three live at one address.
	long := strings.Repeat("x", 30_000)
	for round := range 20 {
		for i, d := range dialogs {
			d.say(fmt.Sprint(round, long))
			d.expect(fmt.Sprint("p", i, " ", round, long))
		}
	}
	// The oldest goes when its requests are answered, and its client goes on
	// with the newest.
	gone := make(chan error, 1)
	go func() { gone <- processes[0].Shutdown(t.Context()) }()
	dialogs[0].say("last")
	dialogs[0].expect("p0 last")
	_ = dialogs[0].in.Close()
	_, _ = io.ReadAll(dialogs[0].r)
	if err = <-gone; err != nil {
		t.Log(err)
	}
	for i, d := range dialogs[1:] {
		d.say("still")
		d.expect(fmt.Sprint("p", i+1, " still"))
	}
}

func TestAProcessReadsItsSocketAgainWhenItsSuccessorFails(t *testing.T) {
	leak.Check(t)
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	h := startH3On(t, process("old", nil), tcp, udp)
	c := h.client(t)
	d := talk(t, c, h.url)
	d.expect("old")
	for range 2 {
		s := successor(t, h, "new")
		if _, err = h.HandOverQUIC(); err == nil {
			t.Error("handed over twice at one time")
		}
		d.say("with it")
		d.expect("old with it")
		_ = s.Close()
		d.say("without it")
		d.expect("old without it")
	}
	pair, err := h.HandOverQUIC()
	for err != nil && t.Context().Err() == nil {
		runtime.Gosched()
		pair, err = h.HandOverQUIC()
	}
	_ = pair.Close() // it never began
	d.say("ok")
	d.expect("old ok")
	_ = c.Transport.(*http3.Transport).Close()
}

func TestAProcessServesWithoutOneBeforeItThatHasEnded(t *testing.T) {
	leak.Check(t)
	serve := func(previous *os.File) *h3Server {
		tcp, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		return startH3On(t, process("p", previous), tcp, udp)
	}
	old := serve(nil)
	get(t, old.client(t), old.url)
	pair, err := old.HandOverQUIC()
	if err != nil {
		t.Fatal(err)
	}
	_ = old.Close()
	if s := serve(pair); s != nil {
		get(t, s.client(t), s.url)
	}

	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	broken := serve(r)
	if err = <-broken.done; err == nil || !strings.Contains(err.Error(), "take QUIC over") {
		t.Errorf("with a pipe instead of the pair: %v", err)
	}
	broken.done <- nil
}
