package daemon

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/fairlead-edge/fairlead/fanout"
	"github.com/fairlead-edge/fairlead/listen"
	"github.com/fairlead-edge/fairlead/observe"
	"github.com/fairlead-edge/fairlead/websocket"
)

// Process is what the program has from its surroundings.
type Process struct {
	// Stdout gets a line for each bound address, and "ready".
	Stdout io.Writer
	// Stderr gets the log.
	Stderr io.Writer
	// Standard is the standard logger, to which net/http writes what it thinks of an
	// upstream: while Run runs, its lines go to the log, without what they quote. nil:
	// it is left as it is.
	Standard *log.Logger
	// Signals brings SIGTERM and SIGINT, which drain, and at the second exit
	// at once, SIGHUP, which reloads, and where the system has it SIGUSR2, which
	// starts the program on the disk anew and hands over to it. nil: no signal
	// comes.
	Signals <-chan os.Signal
}

// Signals returns the signals that [Run] understands, as they come to the
// process, until stop is called.
func Signals() (signals <-chan os.Signal, stop func()) {
	ch := make(chan os.Signal, 4) // more than one in quick succession
	signal.Notify(ch, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	if restart != nil {
		signal.Notify(ch, restart)
	}
	return ch, func() { signal.Stop(ch) }
}

// daemon is the running program.
type daemon struct {
	options Options
	log     *slog.Logger
	access  *slog.Logger // of the records of requests, which may wait a moment
	level   *slog.LevelVar
	metrics *observe.Metrics
	counts  bool             // whether there are metrics
	tracing *observe.Tracing // nil: off
	traced  tracedConnections
	site    atomic.Pointer[site]
	flights flights
	shows   demonstrations
	relayed websocket.RelayStats // of all

	leaving      chan struct{}             // closed when the drain begins
	deadline     atomic.Pointer[time.Time] // of the drain; nil before it
	asked        chan struct{}             // POST /drain
	servers      []*server                 // one a listener
	tickets      *listen.Keyring           // nil without TLS
	certificates *listen.Certificates      // nil without TLS
	failed       chan error                // a listener broke
	engine       *fanout.Engine            // nil until readers need one
	plain        *observe.Connections      // counts those of plainListener
	retiring     sync.WaitGroup            // pools that a reload has replaced
	base         context.Context           // of every request
	sockets      *listen.Sockets
	handover     handover
}

func (d *daemon) draining() bool {
	select {
	case <-d.leaving:
		return true
	default:
		return false
	}
}

func (d *daemon) window() time.Duration { return time.Duration(d.site.Load().cfg.Drain.Window) }

// Run serves what the options ask for, until a signal, POST /drain or the end
// of ctx, and returns when all that it started has ended: nil after a drain,
// also one that its deadline cut short. The end of ctx drops everything at
// once. A wrong configuration is an error of type [ConfigErrors].
func Run(ctx context.Context, o Options, p Process) error {
	cfg, err := Load(o)
	if err != nil {
		return err
	}
	base, cancel := context.WithCancel(ctx)
	defer cancel()
	d := &daemon{options: o, leaving: make(chan struct{}), asked: make(chan struct{}, 1), base: base}
	d.level = new(slog.LevelVar)
	stderr := newLogBuffer(p.Stderr)
	defer stderr.close()
	d.log, d.access = newLoggers(stderr, cfg.Log, d.level)
	if p.Standard != nil {
		defer d.takeStandard(p.Standard)()
	}
	d.metrics, d.counts = observe.New(Version(), d.sources()), cfg.Metrics.Enabled
	if d.tracing, err = d.openTracing(&cfg.Tracing); err != nil {
		return err
	}
	defer d.closeTracing()
	if err := d.inherit(p); err != nil {
		return err
	}
	first, err := d.build(cfg, nil)
	if err != nil {
		return err
	}
	d.site.Store(first)
	first.captured.AllowOrigins(cfg.CORS)
	var running sync.WaitGroup
	defer running.Wait()
	defer d.drop(cancel)
	if err := d.takeOver(); err != nil {
		return err
	}
	if err := d.listen(ctx, &cfg); err != nil {
		return err
	}
	d.sockets.CloseUnused()
	d.start(base, &running)
	d.announce(p.Stdout, &cfg)
	d.served()
	return d.loop(ctx, p.Signals)
}

// takeStandard makes the lines of a logger the log's, until give is called.
func (d *daemon) takeStandard(l *log.Logger) (give func()) {
	to, flags := l.Writer(), l.Flags()
	l.SetOutput(listen.NewErrorLog(d.log).Writer())
	l.SetFlags(0)
	return func() {
		l.SetOutput(to)
		l.SetFlags(flags)
	}
}

// start starts what runs beside the requests; running joins it.
func (d *daemon) start(ctx context.Context, running *sync.WaitGroup) {
	for _, s := range d.servers {
		running.Go(func() {
			defer close(s.stopped)
			if err := s.Serve(s.tcp, s.udp); err != nil {
				d.failed <- fmt.Errorf("daemon: serve %s: %w", s.name, err)
			}
		})
	}
	running.Go(func() { d.sweep(ctx) })
	if s := d.site.Load(); s.demo != nil {
		running.Go(func() {
			<-ctx.Done()
			d.shows.end()
		})
		running.Go(func() {
			if err := s.demo.publishPrices(ctx); err != nil {
				d.log.Error("the demo's prices stopped", "error", err)
			}
		})
	}
}

// sweepEvery is how often idle topics, old recordings and slow readers are looked
// at: a small part of the shortest time that makes sense for them.
const sweepEvery = 10 * time.Second

// minSlow is the least limits.slow_reader: a reader is looked at four times.
const minSlow = 3 * sweepEvery

func (d *daemon) sweep(ctx context.Context) {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			s := d.site.Load()
			s.topics.Sweep()
			s.captured.Sweep()
			d.findSlow(s)
		}
	}
}

func (d *daemon) announce(stdout io.Writer, cfg *Config) {
	d.log.Info("start", "version", Version(), "publishing", publishing(cfg))
	if n, ok := listen.DescriptorLimit(); ok {
		if what := descriptorWarning(n, cfg.Limits.Connections); what != "" {
			d.log.Warn(what)
		}
	}
	for _, s := range d.servers {
		fmt.Fprintf(stdout, "%s %s\n", s.name, s.url)
	}
	fmt.Fprintln(stdout, "ready")
}

// publishing says who may publish.
func publishing(cfg *Config) string {
	switch {
	case cfg.TopicsPrefix == "":
		return "off: there are no topics"
	case cfg.PublishToken != "":
		return "with publish_token"
	case mayPublish(cfg):
		return "open: only this machine can connect"
	}
	return "off: set publish_token to allow it for those who connect from elsewhere"
}

// mayPublish reports whether publishing needs no token.
func mayPublish(cfg *Config) bool {
	return (cfg.HTTP == "" || isLoopback(cfg.HTTP)) && (cfg.HTTPS == "" || isLoopback(cfg.HTTPS))
}

// loop waits for what ends or changes the program.
func (d *daemon) loop(ctx context.Context, signals <-chan os.Signal) error {
	var newer starting
	defer newer.end()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case err := <-d.failed:
			return err
		case <-d.asked:
			newer.end()
			return d.leave(ctx, signals)
		case r := <-newer.done:
			newer = starting{}
			if r.err == nil {
				d.moved(r.to)
				return d.leave(ctx, signals)
			}
			d.log.Error("the hand-over failed; this process goes on", "error", r.err)
		case s := <-signals:
			switch s {
			case syscall.SIGHUP:
				d.reload()
			case restart:
				newer.begin(ctx, d)
			default:
				newer.end()
				return d.leave(ctx, signals)
			}
		}
	}
}

// Version returns the version of the module that the program was built from,
// or the revision of its source.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return "devel-" + s.Value[:min(12, len(s.Value))]
		}
	}
	return "devel"
}
