package daemon

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

// leave drains, and returns nil when everything has ended or the deadline has
// passed. A second signal cuts it short, with an error.
func (d *daemon) leave(ctx context.Context, signals <-chan os.Signal) error {
	cfg := &d.site.Load().cfg
	deadline, cancel := context.WithTimeoutCause(ctx, time.Duration(cfg.Drain.Deadline), errDeadline)
	defer cancel()
	deadline, interrupt := context.WithCancelCause(deadline)
	defer interrupt(nil)
	if !d.handover.moved { // else the service goes on
		d.notify("STOPPING=1")
	}
	d.log.Info("drain", "window", cfg.Drain.Window.String(), "deadline", cfg.Drain.Deadline.String())
	if until, ok := deadline.Deadline(); ok {
		d.deadline.Store(&until)
	}
	close(d.leaving) // /readyz is 503 from here on

	done := make(chan struct{})
	var draining sync.WaitGroup
	defer draining.Wait()
	draining.Go(func() {
		defer close(done)
		d.drain(deadline)
	})
	for {
		select {
		case <-done:
			return d.drained(deadline)
		case s := <-signals:
			switch s {
			case syscall.SIGHUP:
				d.log.Warn("the configuration is not read again while the server drains")
			case restart:
				d.log.Warn("no hand-over is begun while the server drains")
			default:
				interrupt(errInterrupted)
				<-done
				return d.drained(deadline)
			}
		}
	}
}

var (
	errDeadline    = errors.New("daemon: drain: the deadline passed")
	errInterrupted = errors.New("daemon: drain: interrupted by a second signal")
)

func (d *daemon) drained(deadline context.Context) error {
	switch cause := context.Cause(deadline); {
	case cause == nil:
		d.log.Info("drained")
		return nil
	case errors.Is(cause, errDeadline):
		d.log.Warn("the drain's deadline passed; what was left is reset", "in_flight", d.flights.byRoute())
		return nil
	default:
		return cause
	}
}

// drain returns when nothing is served any more, or when ctx ends. During the
// window, or until it is quiet, new connections are still accepted, unless a
// newer process does that: whoever sends them here needs time to notice, and who
// lost a captured stream gets the rest of it nowhere else.
func (d *daemon) drain(ctx context.Context) {
	d.shows.end() // nobody waits for them
	window, cancel := context.WithTimeout(ctx, d.window())
	defer cancel()
	var finished sync.WaitGroup
	for _, s := range d.sites() {
		if s.rpc != nil {
			s.rpc.SetServing(false)
		}
		if s.readers != nil {
			finished.Go(func() { _ = s.readers.Drain(ctx, d.window()) }) // ctx says the rest
		}
	}
	d.waitQuiet(window)

	// From here on no new connection; what is open may finish.
	for _, s := range d.servers {
		if s.name != "admin" { // the operator's goes last
			finished.Go(func() { _ = s.Shutdown(ctx) }) // ctx says the rest
		}
	}
	relays, stop := later(ctx, farewell)
	defer stop()
	for _, s := range d.sites() {
		for _, r := range s.routes {
			finished.Go(func() { _ = r.proxy.Close(relays) })
		}
	}
	captured := d.site.Load().captured
	if !d.handover.moved {
		captured.StopLingering() // for nobody can come back
	}
	finished.Go(func() { _ = captured.Drain(ctx) })
	finished.Go(func() { _ = d.flights.wait(ctx) })
	finished.Wait()

	// Readers that come through a newer process may still have the end to read, and
	// one that has just lost its connection needs a moment to come.
	if p := d.handover.peers; p != nil {
		if d.handover.moved && captured.Stats().Finished > 0 {
			moment, cancel := context.WithTimeout(ctx, d.window())
			<-moment.Done()
			cancel()
		}
		_ = p.Shutdown(ctx) // ctx says the rest
	}

	// The operator's streams have been told; let them end.
	last, end := context.WithTimeout(ctx, farewell)
	defer end()
	for _, s := range d.servers {
		if s.name == "admin" {
			_ = s.Shutdown(last) // who is slower than that is dropped
		}
	}
}

// idlePoll is how often a drain looks whether it is over: often enough that
// nobody waits for it.
const idlePoll = 20 * time.Millisecond

// quiet is how long nobody must have asked for anything, until a server is taken
// to have no clients any more: those that have an idle connection may be about
// to use it, and would be told on the answer to close it.
const quiet = time.Second

// waitQuiet returns when nothing is in flight, no captured call goes on and
// nobody is about to send a request, or when ctx ends. With a newer process in
// the place of this one there is no hurry: clients get the whole window to use
// their idle connections once more, and to be told to close them.
func (d *daemon) waitQuiet(ctx context.Context) {
	tick := time.NewTicker(idlePoll)
	defer tick.Stop()
	captured, began := d.site.Load().captured, time.Now()
	for {
		connections := 0
		for _, s := range d.servers {
			if s.name != "admin" {
				open := s.Stats()
				connections += open.HTTP1 + open.HTTP2 + open.HTTP3 + open.Unknown
			}
		}
		least := quiet
		switch {
		case connections == 0:
			least = 0
		case d.handover.moved:
			least = d.window()
		}
		if time.Since(began) >= least && d.flights.quiet(least) && captured.Stats().Calls == 0 {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// farewell is how long relays get to tell their clients to come back, once
// their time is up: a frame that fits any socket's buffer.
const farewell = time.Second

// later returns a context that ends a while after ctx.
func later(ctx context.Context, while time.Duration) (context.Context, context.CancelFunc) {
	late, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(while, cancel)
		context.AfterFunc(late, func() { timer.Stop() })
	})
	return late, func() {
		stop()
		cancel()
	}
}

// sites returns the current site and those before it.
func (d *daemon) sites() []*site {
	s := d.site.Load()
	return append(slices.Clip(s.retired), s)
}

// dropWait is how long handlers get to return once their connections are
// closed and their contexts cancelled: one that needs longer is a bug.
const dropWait = 5 * time.Second

// drop resets what is left and returns when no handler runs any more; cancel
// ends the context of all of them.
func (d *daemon) drop(cancel context.CancelFunc) {
	s := d.site.Load()
	s.captured.Close()
	for _, srv := range d.servers {
		_ = srv.Close() // also closes the listener; what fails is closed already
	}
	cancel() // only now: a connection that is closed cannot look like an end
	if d.engine != nil {
		_ = d.engine.Close() // of connections that are the servers' no more; each says itself how it ended
	}
	ctx, stop := context.WithTimeout(context.Background(), dropWait)
	defer stop()
	for _, old := range d.sites() {
		for _, r := range old.routes {
			_ = r.proxy.Close(ctx)
		}
	}
	for _, p := range s.pools {
		p.Close()
	}
	if p := d.handover.peers; p != nil {
		if err := p.close(); err != nil {
			d.log.Warn("the folder for other processes was not removed", "error", err)
		}
	}
	d.retiring.Wait()
	if d.flights.wait(ctx) != nil {
		d.log.Error("some requests did not end although their connections were closed", "in_flight", d.flights.byRoute())
	}
}
