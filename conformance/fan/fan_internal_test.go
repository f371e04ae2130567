//go:build linux

package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-edge/fairlead/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestEventsAreCountedWhereverTheStreamIsCut(t *testing.T) {
	due := time.Now().Add(-time.Second)
	stream := "96\r\nid: 1\ndata: " + string(dataOf(due, 40)) + "\n\n\r\n96\r\nid: 2\ndata: " + string(dataOf(due, 40)) + "\n\n\r\n"
	for cut := range len(stream) {
		g := &group{tally: tally{reached: make(chan struct{}, 1)}}
		g.goal.Store(2)
		s := &subscriber{group: g}
		g.took(s, []byte(stream[:cut]))
		g.took(s, []byte(stream[cut:]))
		if n := g.deliveries.Load(); n != 2 {
			t.Fatalf("cut at %d: %d events", cut, n)
		}
		if n := g.bytes.Load(); n != int64(len(stream)) {
			t.Fatalf("cut at %d: %d bytes", cut, n)
		}
		select {
		case <-g.reached:
		default:
			t.Fatalf("cut at %d: the goal is reached and nobody was told", cut)
		}
		delays := g.delays.take()
		if p50 := quantile(delays, 0.5); p50 < time.Second || p50 > time.Minute {
			t.Fatalf("cut at %d: delays of %v", cut, p50)
		}
	}
}

func TestABucketIsLessThanOnePercentWide(t *testing.T) {
	for delay := int64(0); delay < int64(time.Hour); delay += delay/300 + 1 {
		b := bucketOf(delay)
		most := int64(upTo(b))
		if most < delay || float64(most-delay) > float64(delay+1<<bucketBits)/(1<<bucketBits) {
			t.Fatalf("%d is in the bucket up to %d", delay, most)
		}
		if bucketOf(most) != b || bucketOf(most+1) != b+1 {
			t.Fatalf("the bucket up to %d does not end there", most)
		}
	}
}

func TestAQuantileIsWhatTheShareDoesNotExceed(t *testing.T) {
	var h histogram
	for i := range 1000 {
		h.add(int64(i+1) * int64(time.Millisecond))
	}
	counts := h.take()
	for q, want := range map[float64]time.Duration{0.5: 500 * time.Millisecond, 0.99: 990 * time.Millisecond, 1: time.Second} {
		if got := quantile(counts, q); got < want || float64(got) > 1.01*float64(want) {
			t.Errorf("%v of 1 to 1000 ms: %v", q, got)
		}
	}
	if left := h.take(); len(left) > 0 {
		t.Errorf("taken twice: %v", left)
	}
}

func TestTheMedianOfAnEvenNumberIsBetweenTwo(t *testing.T) {
	if m := median([]float64{9, 1, 2, 4}); m != 3 {
		t.Errorf("%v", m)
	}
	if m := median([]float64{9, 1, 2}); m != 2 {
		t.Errorf("%v", m)
	}
}

func TestTheFloorWritesTheFrameForEachRequest(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &floor{frame: makeFrame(50, 3)}
	serving := make(chan struct{})
	go func() {
		defer close(serving)
		f.accept(l)
	}()
	t.Cleanup(func() {
		l.Close()
		<-serving
		for _, file := range f.files {
			file.Close()
		}
	})
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: floor\r\n\r\n")
	r := bufio.NewReader(c)
	res, err := http.ReadResponse(r, nil)
	if err != nil || res.StatusCode != 200 {
		t.Fatal(res, err)
	}
	for joined := false; !joined; { // the head is written just before
		f.mu.Lock()
		joined = len(f.fds) == 1
		f.mu.Unlock()
	}
	p := newPublisher(l.Addr().String(), "/publish", "text/plain", floorBody)
	defer p.close()
	due := time.Now()
	for range 2 {
		if err := p.publish(t.Context(), due, 3); err != nil {
			t.Fatal(err)
		}
	}
	got := make([]byte, 2*3*50)
	if _, err := io.ReadFull(res.Body, got); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(got), string(mark)); n != 6 {
		t.Errorf("%d events in %q", n, got)
	}
	if want := fmt.Sprintf("%c%d", mark, due.UnixNano()); !strings.HasPrefix(string(got), want) {
		t.Errorf("%q does not begin with %q", got, want)
	}
}

func TestAProcessIsOfItsParentsFamily(t *testing.T) {
	all, err := family(os.Getppid())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(all, os.Getpid()) {
		t.Errorf("%d is not among %v", os.Getpid(), all)
	}
	if spent, err := cpu([]int{os.Getpid()}); err != nil || spent <= 0 {
		t.Errorf("this process has run for %v: %v", spent, err)
	}
}

func TestTheConfigurationHasTheKeysThatAreAskedFor(t *testing.T) {
	at := &target{address: "127.0.0.1:1", secure: "127.0.0.1:2", admin: "127.0.0.1:3"}
	if text := (settings{}).configuration(at); strings.Contains(text, "fanout") {
		t.Errorf("nothing was asked for: %s", text)
	}
	text := settings{engine: "false", flushDelay: 20 * time.Millisecond}.configuration(at)
	if !strings.HasSuffix(text, "fanout: {engine: false, flush_delay: 20ms}\n") {
		t.Errorf("%s", text)
	}
}
