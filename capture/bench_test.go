package capture_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/fairlead-edge/fairlead/capture"
)

// benchTarget makes a run of the test program a proxy for a benchmark, so that
// its CPU time is not mixed with that of the clients and the upstream.
const benchTarget = "CAPTURE_BENCH_UPSTREAM"

// benchProxy is the child: the standard library's proxy below /plain/, the same
// with capture below /captured/, and the CPU time used so far at /cpu.
func benchProxy(upstream string) {
	u, err := url.Parse(upstream)
	if err != nil {
		panic(err)
	}
	store := capture.NewStore(capture.StoreConfig{})
	transport := func() *http.Transport { return &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true} }
	plain, captured := httputil.NewSingleHostReverseProxy(u), httputil.NewSingleHostReverseProxy(u)
	plain.Transport = transport()
	captured.Transport = store.Transport(capture.Config{}, transport())
	captured.ErrorLog = quiet // clients leave at the end of a benchmark
	mux := http.NewServeMux()
	mux.Handle("/plain/", plain)
	mux.Handle("/captured/", captured)
	mux.HandleFunc("/cpu", func(w http.ResponseWriter, _ *http.Request) {
		var r syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
			panic(err)
		}
		_ = json.NewEncoder(w).Encode(r.Utime.Nano() + r.Stime.Nano())
	})
	server := httptest.NewServer(mux)
	fmt.Println(server.URL)
	_, _ = io.Copy(io.Discard, os.Stdin) // until the parent is done
}

// bench is a child between clients and an upstream of this process.
type bench struct {
	b    *testing.B
	url  string
	next map[string]chan struct{} // lets the upstream send an event, by connection

	client *http.Client
}

const benchConns = 8

func newBench(b *testing.B) *bench {
	x := &bench{b: b, next: make(map[string]chan struct{}), client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 2 * benchConns}}}
	for i := range benchConns {
		for _, way := range []string{"plain", "captured"} {
			x.next[fmt.Sprintf("%s-%d", way, i)] = make(chan struct{}, 1)
		}
	}
	event := []byte("data: {\"choices\":[{\"delta\":{\"content\":\"" + strings.Repeat("word ", 20) + "\"}}]}\n\n")
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		rc := http.NewResponseController(w)
		next := x.next[r.URL.Query().Get("conn")]
		if next == nil {
			_, _ = w.Write(event)
			return
		}
		_ = rc.Flush()
		for range next {
			if _, err := w.Write(event); err != nil || rc.Flush() != nil {
				return
			}
		}
	}))
	b.Cleanup(api.Close)
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	child := exec.CommandContext(b.Context(), self)
	child.Env = append(os.Environ(), benchTarget+"="+api.URL)
	child.Stderr = os.Stderr
	in, _ := child.StdinPipe()
	out, _ := child.StdoutPipe()
	if err := child.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		in.Close()
		_ = child.Wait()
		x.client.CloseIdleConnections()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	x.url = strings.TrimSpace(line)
	return x
}

// cpu returns the child's CPU time so far.
func (x *bench) cpu() time.Duration {
	resp, err := x.client.Get(x.url + "/cpu")
	if err != nil {
		x.b.Fatal(err)
	}
	defer resp.Body.Close()
	var n time.Duration
	if err := json.NewDecoder(resp.Body).Decode(&n); err != nil {
		x.b.Fatal(err)
	}
	return n
}

// compare runs both ways in turn and reports the CPU time of each per
// operation.
func (x *bench) compare(run func(way string, n int)) {
	const round = 2000
	used := map[string]time.Duration{}
	done := 0
	for x.b.Loop() {
		ways := []string{"plain", "captured"}
		if done%2 == 1 {
			ways[0], ways[1] = ways[1], ways[0]
		}
		for _, way := range ways {
			before := x.cpu()
			run(way, round)
			used[way] += x.cpu() - before
		}
		done++
	}
	per := func(way string) float64 { return float64(used[way].Nanoseconds()) / float64(done*round) }
	x.b.ReportMetric(0, "ns/op") // a round, which says nothing
	x.b.ReportMetric(per("plain"), "plain-cpu-ns")
	x.b.ReportMetric(per("captured"), "captured-cpu-ns")
	x.b.ReportMetric(per("captured")/per("plain"), "ratio")
}

// BenchmarkEvent compares the CPU time of the proxy for one event that is
// written when the one before has arrived, on 8 connections.
func BenchmarkEvent(b *testing.B) {
	x := newBench(b)
	streams := map[string]*bufio.Reader{}
	for conn := range x.next {
		way, _, _ := strings.Cut(conn, "-")
		resp, err := x.client.Get(x.url + "/" + way + "/?conn=" + conn)
		if err != nil {
			b.Fatal(err)
		}
		defer resp.Body.Close()
		streams[conn] = bufio.NewReader(resp.Body)
	}
	x.compare(func(way string, n int) {
		var all sync.WaitGroup
		for i := range benchConns {
			conn := fmt.Sprintf("%s-%d", way, i)
			all.Go(func() {
				for range n / benchConns {
					x.next[conn] <- struct{}{}
					for line := "more"; line != "\n"; {
						var err error
						if line, err = streams[conn].ReadString('\n'); err != nil {
							b.Error(err)
							return
						}
					}
				}
			})
		}
		all.Wait()
	})
	for _, next := range x.next {
		close(next)
	}
}

// BenchmarkRequest compares the CPU time of the proxy for one short response.
func BenchmarkRequest(b *testing.B) {
	x := newBench(b)
	x.compare(func(way string, n int) {
		var all sync.WaitGroup
		for range benchConns {
			all.Go(func() {
				for range n / benchConns {
					resp, err := x.client.Get(x.url + "/" + way + "/")
					if err != nil {
						b.Error(err)
						return
					}
					_, _ = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
			})
		}
		all.Wait()
	})
}
