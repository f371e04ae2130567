package fanout

import (
	"io"
	"time"
)

// read gives the session what the client sends, until there is no more.
func (v *served) read(r io.Reader) {
	defer func() {
		v.mu.Lock()
		v.gone = true
		v.mu.Unlock()
		v.look()
	}()
	defer caught(&v.broken)
	p := make([]byte, readBuffer)
	var pace pace
	for {
		n, err := r.Read(p)
		if n > 0 {
			now := time.Now()
			v.conn.received.Add(uint64(n))
			v.conn.lastReceived.Store(now.UnixNano())
			pace.add(n, now)
			work, more := v.receive(p[:n])
			if !more {
				return
			}
			if work != nil {
				pace.unused = 0
				work()
				if !v.resume() {
					return
				}
			}
			v.keep(&pace)
		}
		if err != nil {
			return
		}
	}
}

// pace is how much a client has sent that asked for no work.
type pace struct {
	unused int32 // bytes, at last; see drained
	last   time.Time
	ended  bool // the session has ended the connection; unused is from then on
}

func (p *pace) add(n int, now time.Time) {
	p.unused, p.last = drained(p.unused, now.Sub(p.last))+int32(n), now
}

// keep waits while the client has sent too much.
func (v *served) keep(p *pace) {
	v.mu.Lock()
	ended := v.end != nil
	v.mu.Unlock()
	burst := v.opts.burst()
	if ended {
		burst = paceBytes
		if !p.ended {
			p.unused, p.ended = 0, true
		}
	}
	if p.unused <= burst {
		return
	}
	timer := time.NewTimer(time.Until(p.last.Add(rest(p.unused - burst))))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-v.closed:
	}
}

// receive gives p to the session when there is room for its replies, and returns
// what the session wants to be run before more is read. It reports false when the
// connection is over.
func (v *served) receive(p []byte) (work func(), more bool) {
	var out Out
	v.mu.Lock()
	defer v.mu.Unlock()
	for len(v.replies) > replyBytes && !v.over {
		v.paused = true
		v.room.Wait()
	}
	if v.over {
		return nil, false
	}
	v.heard = time.Now()
	v.session.Receive(&out, p)
	v.settle(&out)
	for _, f := range out.frames {
		v.replies = append(v.replies, f...)
	}
	v.paused = out.work != nil
	v.look() // now, whatever out.work waits for
	return out.work, true
}

// resume has the session pulled, for what it wanted to be run has been, and
// returns when it was: what that gave it answers before more is asked of it. It
// reports false when the connection is over.
func (v *served) resume() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.worked = true
	v.look()
	for v.worked && v.end == nil && !v.over {
		v.room.Wait()
	}
	v.paused, v.worked = false, false
	v.heard = time.Now() // from now on it is listened to
	v.look()
	return !v.over
}
