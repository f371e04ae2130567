package fanout

import (
	"slices"
	"sync"
	"sync/atomic"
)

// defaultWorkers is far more than there are processors, for jobs that block are
// not to keep others from running.
const defaultWorkers = 1024

// workers run jobs, the first first, each on one of a bounded number of
// goroutines, which end when there are no more. A connection has one job at a time,
// so that none has more of them than the others.
type workers struct {
	limit   int
	running sync.WaitGroup

	mu    sync.Mutex
	count int
	queue []*job // one of each connection at most, for which it is dropped with it
}

// job is what a session asked for by Out.Work.
type job struct {
	do   func()
	tell func(*Conn) // when it is done
	conn *Conn

	done atomic.Bool
	err  error // what it panicked with; read when it is done
}

func (w *workers) add(j *job) {
	w.mu.Lock()
	w.queue = append(w.queue, j)
	start := w.count < w.limit
	if start {
		w.count++
	}
	w.mu.Unlock()
	if start {
		w.running.Go(w.work)
	}
}

// drop takes a job out of the queue, unless it has begun.
func (w *workers) drop(j *job) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if i := slices.Index(w.queue, j); i >= 0 {
		w.queue = slices.Delete(w.queue, i, i+1)
	}
}

func (w *workers) work() {
	for {
		w.mu.Lock()
		if len(w.queue) == 0 {
			w.count--
			w.queue = nil
			w.mu.Unlock()
			return
		}
		j := w.queue[0]
		w.queue[0] = nil
		w.queue = w.queue[1:]
		w.mu.Unlock()
		j.run()
		j.done.Store(true)
		j.tell(j.conn)
	}
}

func (j *job) run() {
	defer caught(&j.err)
	j.do()
}
