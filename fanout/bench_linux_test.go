package fanout_test

import (
	"bytes"
	"cmp"
	"fmt"
	"net"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-edge/fairlead/fanout"
)

// BenchmarkDelivery compares a round in which shared frames go to each of 1,000
// connections with as many bare write(2) of the same bytes, turn by turn: what is
// read in between counts for neither. 1.0 is the floor.
func BenchmarkDelivery(b *testing.B) {
	for _, frames := range []int{1, 16} {
		b.Run(fmt.Sprintf("frames=%d", frames), func(b *testing.B) { deliveries(b, frames) })
	}
}

func deliveries(b *testing.B, frames int) {
	const connections = 1000
	frame := bytes.Repeat([]byte("x"), 150)
	bare := bytes.Repeat(frame, frames)
	ln := listener(b)
	e := engine(b, fanout.Config{Shards: 1})
	var clients, raw []int
	all := &broadcast{frame: frame, frames: frames, want: connections, done: make(chan struct{}, 1)}
	for range connections {
		client, server := socket(b, ln)
		s := &receiver{of: all}
		all.to = append(all.to, s)
		if err := e.Add(&s.Conn, fanout.Taken{Conn: server}, s, nil); err != nil {
			b.Fatal(err)
		}
		clients = append(clients, client)
	}
	<-all.done // the first Pull of each
	var rawClients []int
	for range connections {
		client, server := socket(b, ln)
		rawClients = append(rawClients, client)
		fd, err := server.(*net.TCPConn).File()
		if err != nil {
			b.Fatal(err)
		}
		server.Close()
		b.Cleanup(func() { fd.Close() })
		raw = append(raw, int(fd.Fd()))
		if err := unix.SetNonblock(int(fd.Fd()), true); err != nil {
			b.Fatal(err)
		}
	}
	p := make([]byte, len(bare))
	drain := func(fds []int) {
		for _, fd := range fds {
			if n, err := unix.Read(fd, p); n != len(p) {
				b.Fatal(n, err)
			}
		}
	}
	defer func() {
		for _, fd := range slices.Concat(clients, rawClients) {
			_ = unix.Close(fd)
		}
	}()
	drain(clients)
	begin, written := make(chan struct{}), make(chan struct{})
	defer close(begin)
	go func() { // so that it starts, and shares a processor with the reader, as the engine does
		for range begin {
			for _, fd := range raw {
				if n, err := unix.Write(fd, bare); n != len(bare) {
					b.Error(n, err)
				}
			}
			written <- struct{}{}
		}
	}()
	var floor, ours []time.Duration
	var ratios []float64
	for b.Loop() {
		start := time.Now()
		begin <- struct{}{}
		<-written
		floor = append(floor, time.Since(start))
		drain(rawClients)

		start = time.Now()
		all.round.Add(1)
		for _, s := range all.to {
			s.Wake()
		}
		<-all.done
		ours = append(ours, time.Since(start))
		ratios = append(ratios, float64(ours[len(ours)-1])/float64(floor[len(floor)-1]))
		drain(clients)
	}
	deliveries := float64(connections * frames)
	b.ReportMetric(float64(median(floor))/deliveries, "raw-ns/delivery")
	b.ReportMetric(float64(median(ours))/deliveries, "engine-ns/delivery")
	b.ReportMetric(median(ratios), "engine/raw")
	b.ReportMetric(0, "ns/op")
}

// median leaves out what the machine did besides.
func median[T cmp.Ordered](of []T) T {
	slices.Sort(of)
	return of[len(of)/2]
}

// BenchmarkWake measures what a publication costs its publisher for each reader:
// the first wake of 1,000 connections, and those while the first is to be seen to.
func BenchmarkWake(b *testing.B) {
	e := engine(b, fanout.Config{Shards: 1})
	step := make(chan struct{})
	holder := &script{receive: func(*fanout.Out, []byte) { step <- struct{}{}; <-step }}
	client := play(b, e, holder, nil)
	var pulled atomic.Int64
	sessions := make([]*script, 1000)
	for i := range sessions {
		sessions[i] = &script{pull: func(*fanout.Out) { pulled.Add(1) }}
		play(b, e, sessions[i], nil)
	}
	var first, again time.Duration
	wake := func(sum *time.Duration) {
		start := time.Now()
		for _, s := range sessions {
			s.Wake()
		}
		*sum += time.Since(start)
	}
	for b.Loop() {
		eventually(b, "all to be pulled", func() bool { return pulled.Load() >= int64(len(sessions)) })
		if _, err := client.Write([]byte("x")); err != nil {
			b.Fatal(err)
		}
		<-step // the shard waits
		pulled.Store(0)
		wake(&first)
		wake(&again)
		step <- struct{}{}
	}
	wakes := float64(b.N * len(sessions))
	b.ReportMetric(float64(first)/wakes, "first-ns/wake")
	b.ReportMetric(float64(again)/wakes, "again-ns/wake")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkIdleConnection measures the heap that an idle connection takes, its
// Conn included.
func BenchmarkIdleConnection(b *testing.B) {
	const connections = 5000
	ln := listener(b)
	o := &fanout.Options{Heartbeat: 15 * time.Second}
	for b.Loop() {
		e := fanout.New(fanout.Config{})
		clients := make([]int, connections)
		before := heap()
		sessions := make([]idle, connections)
		for i := range sessions {
			var server net.Conn
			clients[i], server = socket(b, ln)
			if err := e.Add(&sessions[i].Conn, fanout.Taken{Conn: server}, &sessions[i], o); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(int64(heap()-before))/connections, "B/connection")
		e.Close()
		for _, fd := range clients {
			_ = unix.Close(fd)
		}
		runtime.KeepAlive(sessions)
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// socket returns a connection whose client is a bare descriptor.
func socket(b *testing.B, ln net.Listener) (client int, server net.Conn) {
	b.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	addr := ln.Addr().(*net.TCPAddr)
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: addr.Port, Addr: [4]byte(addr.IP.To4())}); err != nil {
		b.Fatal(err)
	}
	server, err = ln.Accept()
	if err != nil {
		b.Fatal(err)
	}
	return fd, server
}

// broadcast is a frame that all receivers are given once a round.
type broadcast struct {
	frame  []byte
	frames int
	to     []*receiver
	round  atomic.Uint64
	given  int
	want   int
	done   chan struct{}
}

type receiver struct {
	fanout.Conn

	of   *broadcast
	seen uint64
	some bool
}

func (r *receiver) Pull(out *fanout.Out) {
	now := r.of.round.Load()
	if now == r.seen && r.some {
		return
	}
	r.seen, r.some = now, true
	for range r.of.frames {
		out.Share(r.of.frame)
	}
	if r.of.given++; r.of.given == r.of.want {
		r.of.given = 0
		r.of.done <- struct{}{}
	}
}

func (*receiver) Receive(*fanout.Out, []byte) {}
func (*receiver) Beat(*fanout.Out)            {}
func (*receiver) Closed(error)                {}

// idle is a session with nothing to say.
type idle struct{ fanout.Conn }

func (*idle) Pull(*fanout.Out)            {}
func (*idle) Receive(*fanout.Out, []byte) {}
func (*idle) Beat(*fanout.Out)            {}
func (*idle) Closed(error)                {}
