package fanout

import (
	"fmt"
	"math"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Engine serves connections whose descriptors it has taken, all of them from a
// few goroutines. Its methods may be called concurrently.
type Engine struct {
	config  Config
	start   time.Time
	workers workers
	running sync.WaitGroup // the shards

	mu     sync.Mutex
	shards []*shard // nil until the first connection
	closed bool
}

// New returns an engine. It starts its goroutines as there are connections for
// them; Close ends them.
func New(c Config) *Engine {
	if c.Shards <= 0 {
		c.Shards = runtime.GOMAXPROCS(0)
	}
	if c.Workers <= 0 {
		c.Workers = defaultWorkers
	}
	return &Engine{config: c, start: time.Now(), workers: workers{limit: c.Workers}}
}

// Add takes a connection over. From then on the engine alone uses it, until it
// calls Session.Closed. c must not have been served before.
//
// When Add fails nothing was read or written, options of TCP may be set, and no method of s has been called,
// Closed neither: who calls closes it, or has [Serve] serve it with c and s. Where
// Add succeeds, Closed may be called before it returns. ErrNoDescriptor means that it is
// no stream socket (TCP, Unix) that shows its descriptor, ErrClosed that the
// engine is closed; else the system refused, for want of descriptors mostly, and
// the next may fare better.
func (e *Engine) Add(c *Conn, t Taken, s Session, o *Options) error {
	conn, ok := t.Conn.(syscall.Conn)
	if !ok {
		return ErrNoDescriptor
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return ErrNoDescriptor
	}
	to, err := e.shard()
	if err != nil {
		return err
	}
	if o == nil {
		o = new(Options)
	}
	fd, err := duplicate(raw, o)
	if err != nil {
		return err
	}
	f := &c.flow
	f.conn, f.session, f.opts = c, s, o
	f.fd, f.slot, f.alarm = int32(fd), noSlot, noAlarm
	if !to.put(arrival{f, t.First, t.Early}) {
		_ = unix.Close(fd) // the socket itself stays open
		return ErrClosed
	}
	_ = t.Conn.Close() // it has been taken: only a descriptor closes
	return nil
}

// fill is how many connections a shard gets before the next one gets any. Together
// they are served by fewer, longer rounds, in which more goes into a write: of two
// shards with half of them each, both write more often, and take more CPU.
const fill = 2048

// shard returns the one for the next connection, and starts it when it is the
// first there.
func (e *Engine) shard() (*shard, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, ErrClosed
	}
	var best *shard
	for _, s := range e.shards {
		if s.connections.Load() < fill {
			return s, nil
		}
		if best == nil || s.connections.Load() < best.connections.Load() {
			best = s
		}
	}
	if len(e.shards) == e.config.Shards {
		return best, nil
	}
	s, err := newShard(e)
	if err != nil {
		if best != nil { // one more would be better, and is not needed
			return best, nil
		}
		return nil, fmt.Errorf("fanout: start a shard: %w", err)
	}
	e.shards = append(e.shards, s)
	e.running.Go(s.run)
	return s, nil
}

// Stats returns what the engine has done so far.
func (e *Engine) Stats() EngineStats {
	e.mu.Lock()
	defer e.mu.Unlock()
	var sum EngineStats
	for _, s := range e.shards {
		sum.Connections += int(s.connections.Load())
		sum.Rounds += s.rounds.Load()
		sum.Writes += s.writes.Load()
	}
	return sum
}

// Close resets all connections, whose sessions are told ErrClosed, and returns
// when they have been, what Out.Work began has returned and the engine's
// goroutines have ended. It returns nil.
func (e *Engine) Close() error {
	e.mu.Lock()
	e.closed = true
	shards := e.shards
	e.mu.Unlock()
	for _, s := range shards {
		s.shut()
	}
	e.running.Wait()
	e.workers.running.Wait()
	return nil
}

// notSent is how many bytes the kernel takes that it cannot send yet. What waits
// beyond it waits here, where policies can still drop it.
const notSent = 16 << 10

// duplicate returns a descriptor of a stream socket, made ready. It is a copy,
// since the original is Go's to poll and to close; (*net.TCPConn).File would
// make both block.
func duplicate(raw syscall.RawConn, o *Options) (fd int, err error) {
	controlErr := raw.Control(func(original uintptr) {
		var domain int
		if domain, err = streamDomain(int(original)); err != nil {
			return
		}
		if fd, err = unix.FcntlInt(original, unix.F_DUPFD_CLOEXEC, 0); err != nil {
			err = fmt.Errorf("fanout: take the descriptor: %w", err)
			return
		}
		if domain != unix.AF_UNIX {
			// Where the system refuses them the connection only has worse manners.
			_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, notSent)
			_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(min(max(o.writeTimeout().Milliseconds(), 1), math.MaxInt32)))
		}
	})
	if controlErr != nil {
		return 0, fmt.Errorf("fanout: take the descriptor: %w", controlErr)
	}
	return fd, err
}

func streamDomain(fd int) (int, error) {
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return 0, ErrNoDescriptor
	}
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil || kind != unix.SOCK_STREAM || domain != unix.AF_INET && domain != unix.AF_INET6 && domain != unix.AF_UNIX {
		return 0, ErrNoDescriptor
	}
	return domain, nil
}
