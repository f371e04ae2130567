package deliver_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/deliver"
	"github.com/fairlead-edge/fairlead/topic"
)

// tick is an event of 150 bytes; its marker byte stands in it once.
var tick = append([]byte(`{"symbol":"ACME","bid":178.50,"ask":178.55,"pad":"`), append(bytes.Repeat([]byte("x"), 97), []byte(`"}!`)...)...)

const marker = '!'

// hub is what one writes with net/http alone: a channel per reader, into which
// each publish puts the encoded event, and a goroutine per reader that writes it.
type hub struct {
	mu      sync.Mutex
	readers map[chan []byte]struct{}
	seq     int
}

func (h *hub) publish(data []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seq++
	frame := fmt.Appendf(nil, "id: %d\ndata: %s\n\n", h.seq, data)
	for c := range h.readers {
		select {
		case c <- frame:
		default: // a slow reader loses it
		}
	}
}

func (h *hub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := make(chan []byte, 64)
	h.mu.Lock()
	h.readers[c] = struct{}{}
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		delete(h.readers, c)
		h.mu.Unlock()
	}()
	w.Header().Set("Content-Type", "text/event-stream")
	flusher := http.NewResponseController(w)
	_ = flusher.Flush()
	for {
		select {
		case frame := <-c:
			if _, err := w.Write(frame); err != nil {
				return
			}
			if flusher.Flush() != nil {
				return
			}
		case <-r.Context().Done():
			return
		}
	}
}

// crowd is many readers of a server that count what arrives.
type crowd struct {
	got   chan int // events that somebody read
	conns []net.Conn
	group sync.WaitGroup
}

func gatherCrowd(b *testing.B, s *httptest.Server, n int) *crowd {
	b.Helper()
	c := &crowd{got: make(chan int, n)}
	for range n {
		conn, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		c.conns = append(c.conns, conn)
		if _, err := io.WriteString(conn, "GET /topics/t HTTP/1.1\r\nHost: h\r\n\r\n"); err != nil {
			b.Fatal(err)
		}
		c.group.Go(func() {
			buf := make([]byte, 4<<10)
			for {
				n, err := conn.Read(buf)
				if k := bytes.Count(buf[:n], []byte{marker}); k > 0 {
					c.got <- k
				}
				if err != nil {
					return
				}
			}
		})
	}
	return c
}

func (c *crowd) wait(events int) {
	for events > 0 {
		events -= <-c.got
	}
}

func (c *crowd) close() {
	for _, conn := range c.conns {
		conn.Close()
	}
	c.group.Wait()
}

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkThousandReaders delivers each event to 1,000 SSE readers of one
// topic over loopback, in turns with its twin. CPU counts both ends.
func BenchmarkThousandReaders(b *testing.B) {
	const readers, turn = 1000, 10
	topics := topic.NewStore(topic.StoreConfig{})
	log, err := topics.Open("t")
	if err != nil {
		b.Fatal(err)
	}
	ours := started(b, httptest.NewUnstartedServer(deliver.New(deliver.Config{Topics: topics})))
	twin := &hub{readers: make(map[chan []byte]struct{})}
	theirs := started(b, httptest.NewUnstartedServer(twin))
	type side struct {
		crowd   *crowd
		publish func()
		cpu     time.Duration
		wall    time.Duration
	}
	sides := [2]*side{
		{crowd: gatherCrowd(b, ours, readers), publish: func() {
			if _, err := log.Append(b.Context(), topic.Batch{Events: []fairlead.Event{{Data: tick}}}); err != nil {
				b.Fatal(err)
			}
		}},
		{crowd: gatherCrowd(b, theirs, readers), publish: func() { twin.publish(tick) }},
	}
	for log.Stats().Readers < readers || twin.count() < readers {
		<-time.After(time.Millisecond)
	}
	n := 0
	for b.Loop() {
		for _, s := range sides {
			began, used := time.Now(), cpu()
			for range turn {
				s.publish()
				s.crowd.wait(readers)
			}
			s.cpu += cpu() - used
			s.wall += time.Since(began)
		}
		n += turn * readers
	}
	for i, name := range []string{"fairlead", "twin"} {
		b.ReportMetric(float64(sides[i].cpu.Nanoseconds())/float64(n), name+"-cpu-ns/delivery")
		b.ReportMetric(float64(sides[i].wall.Nanoseconds())/float64(n), name+"-ns/delivery")
		sides[i].crowd.close()
	}
	b.ReportMetric(float64(sides[0].cpu)/float64(sides[1].cpu), "cpu-ratio")
}

func (h *hub) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.readers)
}
