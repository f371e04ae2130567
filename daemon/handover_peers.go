package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/fairlead-edge/fairlead/listen"
)

// peerServer answers other processes of this program about captured streams,
// over a Unix socket that only the same user can reach.
type peerServer struct {
	http.Server

	path    string
	serving sync.WaitGroup
}

// openPeers begins to answer other processes, unless it has begun.
func (d *daemon) openPeers() error {
	if d.handover.peers != nil {
		return nil
	}
	dir, err := os.MkdirTemp("", "fairlead-") // of mode 0700
	if err != nil {
		return fmt.Errorf("daemon: peers: %w", err)
	}
	p := &peerServer{path: filepath.Join(dir, "peer")}
	l, err := new(net.ListenConfig).Listen(d.base, "unix", p.path)
	if err != nil {
		_ = os.RemoveAll(dir)
		return fmt.Errorf("daemon: peers: %w; TMPDIR names another folder, whose path should be short", err)
	}
	p.Handler = d.site.Load().captured.PeerHandler()
	p.BaseContext = func(net.Listener) context.Context { return d.base }
	p.ErrorLog = listen.NewErrorLog(d.log)
	p.ReadHeaderTimeout = 10 * time.Second
	p.serving.Go(func() {
		if err := p.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			d.log.Error("other processes do not reach the captured streams of this one any more", "error", err)
		}
	})
	d.handover.peers = p
	return nil
}

// close ends what Shutdown has left, and removes the folder.
func (p *peerServer) close() error {
	err := p.Close()
	p.serving.Wait()
	return errors.Join(err, os.RemoveAll(filepath.Dir(p.path)))
}

// peer is another process that may have a stream.
type peer struct {
	http.Transport

	forget func() // called when it is not to be asked any more
}

// maxPeers bounds how many other processes are asked: as many as may still
// drain when another hand-over begins.
const maxPeers = 8

// peerPaths are the sockets of this process and those before it, for a newer
// one.
func (d *daemon) peerPaths() []string {
	paths := []string{d.handover.peers.path}
	if d.handover.before != nil {
		for _, path := range d.handover.before.Peers {
			if _, err := os.Stat(path); err == nil && len(paths) < maxPeers { // else it has gone
				paths = append(paths, path)
			}
		}
	}
	return paths
}

// addPeer lets captured streams be asked for at the process of that socket, as
// long as it lives.
func (d *daemon) addPeer(path string) {
	store, p := d.site.Load().captured, newPeer(path)
	p.forget = func() { store.RemovePeer(p) }
	store.AddPeer(p)
}

func newPeer(path string) *peer {
	p := new(peer)
	p.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}
	// A connection each: they are cheap, and none is left when the process ends.
	p.DisableKeepAlives, p.DisableCompression = true, true
	return p
}

// peerPatience is how long another process may take to say that it is there: one
// that is slower is stopped or stuck.
const peerPatience = 2 * time.Second

// RoundTrip asks the other process, and forgets it once it has ended or is stuck:
// nobody is to wait for it twice. An answer itself may take as long as the
// upstream does.
func (p *peer) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := p.lives(r.Context()); err != nil {
		if r.Context().Err() == nil {
			p.forget()
		}
		return nil, err
	}
	return p.Transport.RoundTrip(r)
}

// lives asks for nothing, which every process answers at once.
func (p *peer) lives(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, peerPatience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodHead, "http://peer/", http.NoBody)
	if err != nil {
		return err
	}
	resp, err := p.Transport.RoundTrip(r)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}
