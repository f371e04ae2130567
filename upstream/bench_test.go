package upstream_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/fairlead-edge/fairlead/upstream"
)

// benchTarget makes a run of the test program a proxy for a benchmark, so that
// its CPU time is not mixed with that of the clients and the upstream.
const benchTarget = "UPSTREAM_BENCH_TARGET"

// benchProxy is the child: httputil.ReverseProxy on a tuned http.Transport
// below /twin/, the same on a Pool below /pool/, and the CPU time used so far
// at /cpu.
func benchProxy(target string) {
	u, err := url.Parse(target)
	if err != nil {
		panic(err)
	}
	pool, err := upstream.New(upstream.Config{Endpoints: []string{target}, Health: upstream.Health{Path: "/healthz"}})
	if err != nil {
		panic(err)
	}
	mux := http.NewServeMux()
	for path, rt := range map[string]http.RoundTripper{
		"/twin/": &http.Transport{MaxIdleConns: 256, MaxIdleConnsPerHost: 256, DisableCompression: true},
		"/pool/": pool,
	} {
		p := httputil.NewSingleHostReverseProxy(u)
		p.Transport = rt
		mux.Handle(path, p)
	}
	mux.HandleFunc("/cpu", func(w http.ResponseWriter, _ *http.Request) {
		var r syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
			panic(err)
		}
		fmt.Fprint(w, r.Utime.Nano()+r.Stime.Nano())
	})
	fmt.Println(httptest.NewServer(mux).URL)
	_, _ = io.Copy(io.Discard, os.Stdin) // until the parent is done
}

// BenchmarkRequest compares the CPU time of a proxy's process for a small GET
// when it stands on a Pool, with everything on that is on by default and
// health checks, and on a tuned http.Transport: 30 pairs of rounds in turns.
func BenchmarkRequest(b *testing.B) {
	const lanes, perRound, pairs = 8, 4000, 30
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello, world\n") }))
	b.Cleanup(api.Close)
	proxy := startProxy(b, api.URL)
	round := func(way string) float64 {
		before := proxy.cpu(b)
		var running sync.WaitGroup
		for lane := range lanes {
			running.Go(func() { proxy.send(b, lane, "/"+way+"/", perRound/lanes) })
		}
		running.Wait()
		return float64(proxy.cpu(b)-before) / perRound
	}
	round("twin")
	round("pool")
	b.ResetTimer()
	for range b.N {
		var ratios, pool, twin []float64
		for i := range pairs {
			ways := []string{"twin", "pool"}
			if i%2 == 1 {
				slices.Reverse(ways)
			}
			used := map[string]float64{}
			for _, way := range ways {
				used[way] = round(way)
			}
			pool, twin = append(pool, used["pool"]), append(twin, used["twin"])
			ratios = append(ratios, used["pool"]/used["twin"])
		}
		for _, s := range [][]float64{ratios, pool, twin} {
			slices.Sort(s)
		}
		b.ReportMetric(pool[pairs/2]/1000, "pool-µs")
		b.ReportMetric(twin[pairs/2]/1000, "twin-µs")
		b.ReportMetric(ratios[pairs/2], "ratio")
		b.ReportMetric(ratios[pairs/4], "ratio-q1")
		b.ReportMetric(ratios[pairs*3/4], "ratio-q3")
	}
}

// benchChild is the proxy's process, with a connection for each lane of
// clients, which is spoken to in bytes: the clients should cost little.
type benchChild struct {
	url   string
	lanes map[int]*bufio.ReadWriter
	mu    sync.Mutex
}

func startProxy(b *testing.B, target string) *benchChild {
	b.Helper()
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	child := exec.CommandContext(b.Context(), self)
	child.Env = append(os.Environ(), benchTarget+"="+target)
	child.Stderr = os.Stderr
	in, _ := child.StdinPipe()
	out, _ := child.StdoutPipe()
	if err := child.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = in.Close()
		_ = child.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return &benchChild{url: strings.TrimSpace(line), lanes: make(map[int]*bufio.ReadWriter)}
}

func (c *benchChild) lane(b *testing.B, lane int) *bufio.ReadWriter {
	c.mu.Lock()
	defer c.mu.Unlock()
	if rw := c.lanes[lane]; rw != nil {
		return rw
	}
	conn, err := new(net.Dialer).DialContext(b.Context(), "tcp", strings.TrimPrefix(c.url, "http://"))
	if err != nil {
		b.Error(err)
		return nil
	}
	b.Cleanup(func() { _ = conn.Close() })
	c.lanes[lane] = bufio.NewReadWriter(bufio.NewReader(conn), bufio.NewWriter(conn))
	return c.lanes[lane]
}

// send makes n requests, one after another.
func (c *benchChild) send(b *testing.B, lane int, path string, n int) {
	rw := c.lane(b, lane)
	for range n {
		fmt.Fprintf(rw, "GET %s HTTP/1.1\r\nHost: bench\r\n\r\n", path)
		if err := rw.Flush(); err != nil {
			b.Error(err)
			return
		}
		res, err := http.ReadResponse(rw.Reader, nil)
		if err != nil || res.StatusCode != http.StatusOK {
			b.Errorf("%v %v", res, err)
			return
		}
		_, _ = io.Copy(io.Discard, res.Body)
	}
}

func (c *benchChild) cpu(b *testing.B) time.Duration {
	res, err := http.Get(c.url + "/cpu")
	if err != nil {
		b.Fatal(err)
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(res.Body)
	n, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return time.Duration(n)
}
