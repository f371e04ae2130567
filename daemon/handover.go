package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/fairlead-edge/fairlead/listen"
)

// A hand-over starts the program on the disk anew, with the listening sockets
// themselves, so that there is no moment at which a connection would be refused.
// The older process waits until the newer one serves, stops accepting, tells its
// clients to come back, and ends what it has begun; both share the queue of
// connections that wait to be accepted. What goes wrong before that leaves the
// older one as it was.
//
// The newer process is the older one's child and outlives it. Where the older
// one is the first process of a container, the container ends with it and takes
// the child along: there, let whoever runs containers replace it, and drain.

// handover is what the process knows of the one before it and the one after it.
type handover struct {
	program []string // to be started anew, with its arguments; empty: it is not known
	stdout  io.Writer
	stderr  io.Writer
	before  *predecessor // nil for one that was started otherwise
	peers   *peerServer  // nil until there is a hand-over
	moved   bool         // the sockets are the newer process's
}

// handed is what a newer process is told, as JSON through a pipe. Nothing of it
// may stand in an environment, which others can read.
type handed struct {
	// Peers are the Unix sockets of the older processes, the youngest first.
	Peers []string `json:"peers"`
	// Tickets is the ring of keys that sessions are resumed with; none when a
	// file has them, or without TLS.
	Tickets []byte `json:"tickets,omitempty"`
}

// taken is what the newer process says, as JSON through another pipe, once it
// serves.
type taken struct {
	// Peer is its own Unix socket.
	Peer string `json:"peer"`
}

// The names of both pipes, and of the pair of sockets through which datagrams
// of the older process's connections go.
const (
	statePipe = "handover-state"
	readyPipe = "handover-ready"
	quicPair  = "handover-quic"
)

// startPatience is how long the newer process may take until it serves.
const startPatience = 30 * time.Second

// maxHanded bounds what processes tell each other, in bytes.
const maxHanded = 1 << 20

// program returns what started this process, by the path that leads to it: in
// time another program may stand there, or a link lead to another.
func program() ([]string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if found, err := exec.LookPath(os.Args[0]); err == nil {
		if found, err = filepath.Abs(found); err == nil && sameFile(found, self) {
			self = found
		}
	}
	return append([]string{self}, os.Args[1:]...), nil
}

func sameFile(a, b string) bool {
	x, err := os.Stat(a) //nolint:gosec // what the system started, and its own path
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}

// successor is a newer process that has taken over.
type successor struct {
	process *os.Process
	peer    string
}

// handOver starts a newer process and returns it once it serves. On an error,
// and when ctx ends before, it has been ended.
func (d *daemon) handOver(ctx context.Context) (*successor, error) {
	if len(d.handover.program) == 0 {
		return nil, errors.New("daemon: hand over: it is not known which program this is")
	}
	if err := d.openPeers(); err != nil {
		return nil, fmt.Errorf("daemon: hand over: %w", err)
	}
	state, tell, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("daemon: hand over: %w", err)
	}
	defer tell.Close()
	hear, ready, err := os.Pipe()
	if err != nil {
		_ = state.Close()
		return nil, fmt.Errorf("daemon: hand over: %w", err)
	}
	defer hear.Close()

	files := map[string]*os.File{statePipe: state, readyPipe: ready}
	for _, s := range d.servers {
		if s.udp == nil {
			continue
		}
		if files[quicPair], err = s.HandOverQUIC(); err != nil {
			_, _ = state.Close(), ready.Close()
			return nil, fmt.Errorf("daemon: hand over: %w", err)
		}
	}
	descriptors := d.sockets.Descriptors(files)
	cmd := exec.Command(d.handover.program[0], d.handover.program[1:]...) //nolint:gosec,noctx // the program itself, which outlives this process
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, file(d.handover.stdout), file(d.handover.stderr)
	cmd.ExtraFiles = descriptors.Files
	cmd.Env = append(os.Environ(), descriptors.Env...)
	err = cmd.Start()
	_ = descriptors.Close()
	if err != nil {
		return nil, fmt.Errorf("daemon: hand over: %w", err)
	}
	answer, err := converse(ctx, tell, hear, handed{Peers: d.peerPaths(), Tickets: d.exportTickets()})
	if err != nil {
		_ = cmd.Process.Kill()
		if ended := cmd.Wait(); ended != nil && errors.Is(err, io.EOF) {
			err = fmt.Errorf("it ended before it served: %w", ended)
		}
		return nil, fmt.Errorf("daemon: hand over: the new process: %w", err)
	}
	return &successor{cmd.Process, answer.Peer}, nil
}

// file returns nil, which is no output, for what another process cannot have.
func file(w io.Writer) io.Writer {
	if f, ok := w.(*os.File); ok {
		return f
	}
	return nil
}

// converse tells the newer process what it needs and waits until it serves.
func converse(ctx context.Context, tell, hear *os.File, say handed) (answer taken, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, startPatience, fmt.Errorf("it did not serve within %s", startPatience))
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		_ = tell.SetDeadline(time.Unix(1, 0))
		_ = hear.SetDeadline(time.Unix(1, 0))
	})
	defer stop()
	if err = json.NewEncoder(tell).Encode(say); err == nil {
		err = json.NewDecoder(io.LimitReader(hear, maxHanded)).Decode(&answer)
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return answer, err
}

// inherit looks at what the process was started with.
func (d *daemon) inherit(p Process) (err error) {
	d.handover.stdout, d.handover.stderr = p.Stdout, p.Stderr
	if d.handover.program, err = program(); err != nil {
		d.log.Warn("a hand-over is not possible: it is not known which program this is", "error", err)
	}
	d.sockets, err = listen.Inherit(d.log)
	return err
}

// predecessor is an older process that this one takes over from.
type predecessor struct {
	handed

	ready *os.File
}

// predecessor reads what the older process says, if there is one.
func (d *daemon) predecessor() (*predecessor, error) {
	state, ready := d.sockets.File(statePipe), d.sockets.File(readyPipe)
	if state == nil || ready == nil {
		return nil, nil //nolint:nilnil // most processes have none
	}
	defer state.Close()
	p := &predecessor{ready: ready}
	if err := json.NewDecoder(io.LimitReader(state, maxHanded)).Decode(&p.handed); err != nil {
		_ = ready.Close()
		return nil, fmt.Errorf("daemon: take over: %w", err)
	}
	return p, nil
}

// takeOver makes the streams of older processes reachable.
func (d *daemon) takeOver() (err error) {
	if d.handover.before, err = d.predecessor(); d.handover.before == nil {
		return err
	}
	for _, path := range d.handover.before.Peers {
		d.addPeer(path)
	}
	return d.openPeers()
}

// served tells whoever started the process that it serves now.
func (d *daemon) served() {
	before := d.handover.before
	if before == nil {
		d.notify("READY=1")
		return
	}
	err := json.NewEncoder(before.ready).Encode(taken{Peer: d.handover.peers.path})
	if err = errors.Join(err, before.ready.Close()); err != nil {
		d.log.Warn("the process that this one takes over from was not told that it may go", "error", err)
	}
}

// moved notes that a newer process serves, and tells the service manager which.
func (d *daemon) moved(to *successor) {
	d.handover.moved = true
	d.addPeer(to.peer)
	d.log.Info("handed over", "pid", to.process.Pid)
	d.notify(fmt.Sprintf("MAINPID=%d\nREADY=1", to.process.Pid))
	_ = to.process.Release() // it outlives this process
	for _, s := range d.servers {
		s.StopAccepting()
		<-s.stopped // from here on it is known of each connection that it has accepted
	}
}

// starting is a hand-over in progress. The zero value is none.
type starting struct {
	done   chan result
	cancel context.CancelFunc
}

type result struct {
	to  *successor
	err error
}

// begin starts a hand-over unless one goes on.
func (s *starting) begin(ctx context.Context, d *daemon) {
	if s.done != nil {
		d.log.Warn("a hand-over is in progress already; the signal is ignored")
		return
	}
	d.log.Info("hand over", "program", d.handover.program)
	ctx, s.cancel = context.WithCancel(ctx)
	s.done = make(chan result, 1)
	done := s.done
	go func() { // who reads done has joined it
		to, err := d.handOver(ctx)
		done <- result{to, err}
	}()
}

// end gives a hand-over up, and the newer process with it.
func (s *starting) end() {
	if s.done == nil {
		return
	}
	s.cancel()
	if r := <-s.done; r.to != nil {
		_ = r.to.process.Kill()
		_, _ = r.to.process.Wait()
	}
	s.done = nil
}

// notify tells systemd, if it started the process, what sd_notify(3) describes.
func (d *daemon) notify(state string) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	// An @ in front is a name without a file, which net knows the same way.
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err == nil {
		_, err = io.WriteString(c, state)
		err = errors.Join(err, c.Close())
	}
	if err != nil {
		d.log.Warn("the service manager was not told", "state", state, "error", err)
	}
}
