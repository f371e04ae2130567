package daemon_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/fairlead-edge/fairlead/daemon"
)

// program is a daemon that runs in the test's process, on free ports.
type program struct {
	t           *testing.T
	http, https string // base URLs
	admin       string
	signals     chan os.Signal
	log         *lockedBuffer
	ended       chan struct{}
	err         error // of Run, once ended is closed
}

// patience bounds a wait; a failing test says what it waited for.
const patience = 20 * time.Second

// start runs a daemon with the configuration given; "" and no upstream is the
// demo. The ports are free ones.
func start(t *testing.T, config string, options daemon.Options) *program {
	t.Helper()
	if config != "" {
		options.Config = write(t, config)
	}
	free := "127.0.0.1:0"
	if options.HTTP == nil {
		options.HTTP = &free
	}
	if options.Admin == nil {
		options.Admin = &free
	}
	return startAs(t, options)
}

// startAs runs a daemon with exactly the options given.
func startAs(t *testing.T, options daemon.Options) *program {
	t.Helper()
	return startIn(t, options, daemon.Process{})
}

// startIn is startAs with what the process has beside what a program holds.
func startIn(t *testing.T, options daemon.Options, process daemon.Process) *program {
	t.Helper()
	p := &program{t: t, signals: make(chan os.Signal), log: &lockedBuffer{}, ended: make(chan struct{})}
	stdout, w := io.Pipe()
	process.Stdout, process.Stderr, process.Signals = w, p.log, p.signals
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer close(p.ended)
		p.err = daemon.Run(ctx, options, process)
		_ = w.Close()
	}()
	t.Cleanup(func() {
		cancel()
		<-p.ended
		http.DefaultClient.CloseIdleConnections()
		if t.Failed() {
			t.Log(p.log.String())
		}
	})
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		name, url, _ := strings.Cut(lines.Text(), " ")
		switch name {
		case "http":
			p.http = url
		case "https":
			p.https = url
		case "admin":
			p.admin = url
		case "ready":
			return p
		}
	}
	<-p.ended
	t.Fatalf("it did not start: %v", p.err)
	return nil
}

// stop sends SIGTERM and returns what Run returned.
func (p *program) stop() error {
	p.t.Helper()
	p.signals <- syscall.SIGTERM
	return p.wait()
}

func (p *program) wait() error {
	p.t.Helper()
	select {
	case <-p.ended:
		return p.err
	case <-time.After(2 * patience):
		p.t.Fatal("it did not end")
		return nil
	}
}

// request makes a request that ends with the test.
func request(t *testing.T, method, url, body string, header ...string) *http.Response {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

// answer makes a request and returns status and body.
func answer(t *testing.T, method, url, body string, header ...string) (status int, text string) {
	t.Helper()
	res := request(t, method, url, body, header...)
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// events reads an event stream block by block.
type events struct {
	t   *testing.T
	res *http.Response
	in  *bufio.Reader
}

func stream(t *testing.T, url string, header ...string) *events {
	t.Helper()
	res := request(t, http.MethodGet, url, "", append([]string{"Accept", "text/event-stream"}, header...)...)
	if res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", url, res.Status)
	}
	return &events{t, res, bufio.NewReader(res.Body)}
}

// next returns the fields of the next block that has data, or io.EOF, or how
// the stream broke.
func (e *events) next() (id, kind, data string, err error) {
	for {
		line, err := e.in.ReadString('\n')
		if err != nil {
			return id, kind, data, err
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch name {
		case "id":
			id = value
		case "event":
			kind = value
		case "data":
			data += value
		case "":
			if data != "" {
				return id, kind, data, nil
			}
			id, kind = "", ""
		}
	}
}

func (e *events) want(data string) (id string) {
	e.t.Helper()
	id, _, got, err := e.next()
	if err != nil || got != data {
		e.t.Fatalf("event %q, %v, want %q", got, err, data)
	}
	return id
}

// eventually waits until cond holds.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// upstreamAPI is an API whose /stream sends what it is given, one event each,
// and counts its calls.
type upstreamAPI struct {
	*httptest.Server

	lines            chan string
	arrived, release chan struct{} // of a request of /wait

	mu    sync.Mutex
	calls int
}

func newUpstream(t *testing.T) *upstreamAPI {
	t.Helper()
	u := &upstreamAPI{lines: make(chan string), arrived: make(chan struct{}), release: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("/stream", func(w http.ResponseWriter, r *http.Request) {
		u.mu.Lock()
		u.calls++
		u.mu.Unlock()
		w.Header().Set("Content-Type", "text/event-stream")
		rc := http.NewResponseController(w)
		_ = rc.Flush()
		for {
			select {
			case line, ok := <-u.lines:
				if !ok {
					return
				}
				_, _ = io.WriteString(w, "data: "+line+"\n\n")
				_ = rc.Flush()
			case <-r.Context().Done():
				return
			}
		}
	})
	mux.HandleFunc("/wait", func(w http.ResponseWriter, _ *http.Request) {
		u.arrived <- struct{}{}
		<-u.release
		_, _ = io.WriteString(w, "finished")
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "hello from "+r.Host+r.URL.Path)
	})
	u.Server = httptest.NewServer(mux)
	t.Cleanup(u.Close)
	return u
}

func (u *upstreamAPI) called() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.calls
}

func connections(t *testing.T, p *program) (page struct {
	Clients    []map[string]any `json:"clients"`
	AllClients int              `json:"clients_total"`
	Sessions   []map[string]any `json:"sessions"`
	Captured   []map[string]any `json:"captured"`
	InFlight   map[string]int   `json:"in_flight"`
	Relays     map[string]int   `json:"relays"`
}) {
	t.Helper()
	_, text := answer(t, http.MethodGet, p.admin+"/connections", "")
	if err := json.Unmarshal([]byte(text), &page); err != nil {
		t.Fatal(err)
	}
	return page
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
