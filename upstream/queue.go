package upstream

import (
	"container/list"
	"context"
	"time"
)

// waiter is a request that waits for a connection.
type waiter struct {
	since   time.Time
	upgrade bool          // see member.upgrades
	got     chan handover // holds one
	at      *list.Element // nil: not in the queue
}

// handover is what a waiter gets: a connection, or why not.
type handover struct {
	taken

	err error
}

// queueOf returns where such requests wait.
func (m *member) queueOf(upgrade bool) *list.List {
	if upgrade {
		return &m.upgrades
	}
	return &m.queue
}

// waitingLocked is how many requests wait for a connection.
func (m *member) waitingLocked() int { return m.queue.Len() + m.upgrades.Len() }

// upgradeNextLocked reports whether it is an upgrade that has waited longest.
func (m *member) upgradeNextLocked() bool {
	if m.upgrades.Len() == 0 || m.queue.Len() == 0 {
		return m.upgrades.Len() > 0
	}
	first, _ := m.upgrades.Front().Value.(*waiter)
	other, _ := m.queue.Front().Value.(*waiter)
	return first.since.Before(other.since)
}

// enqueueLocked puts a new waiter at the end of the queue, and dials for it.
func (m *member) enqueueLocked(upgrade bool) (*waiter, error) {
	if m.removed {
		return nil, &unavailable{reason: "no_endpoint", text: "it is no longer an endpoint"}
	}
	w := &waiter{since: time.Now(), upgrade: upgrade, got: make(chan handover, 1)}
	w.at = m.queueOf(upgrade).PushBack(w)
	m.serveLocked(w.since)
	if w.at != nil && m.waitingLocked() > max(0, m.pool.cfg.Queue.Length)+m.dialing {
		m.queueOf(upgrade).Remove(w.at)
		return nil, &unavailable{reason: "queue_full", text: m.fullText()}
	}
	return w, nil
}

// wait waits in the queue for at most limit.
func (m *member) wait(ctx context.Context, w *waiter, limit time.Duration) (taken, error) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		var err error
		select {
		case h := <-w.got:
			if h.err != nil {
				return taken{}, h.err
			}
			if h.c.ready(h.idle) {
				return h.taken, nil
			}
			m.requeue(w)
			continue
		case <-ctx.Done():
			err = context.Cause(ctx)
		case <-timer.C:
			err = m.late(limit)
		}
		if h, ok := m.withdraw(w); ok && h.err == nil {
			m.release(h.c, nothingSent) // it came in the same moment
		}
		return taken{}, err
	}
}

// requeue puts a waiter whose connection turned out unusable back to the front.
func (m *member) requeue(w *waiter) {
	m.mu.Lock()
	defer m.unlock()
	if m.removed {
		w.got <- handover{err: &unavailable{reason: "no_endpoint", text: "it is no longer an endpoint"}}
		return
	}
	w.at = m.queueOf(w.upgrade).PushFront(w)
	m.serveLocked(time.Now())
}

// withdraw takes a waiter out of the queue, and returns what it got instead if
// it was no longer there.
func (m *member) withdraw(w *waiter) (handover, bool) {
	m.mu.Lock()
	defer m.unlock()
	if w.at != nil {
		m.queueOf(w.upgrade).Remove(w.at)
		w.at = nil
		return handover{}, false
	}
	return <-w.got, true // sent before at became nil
}

// serveLocked gives connections to the oldest waiters, and dials for others.
func (m *member) serveLocked(now time.Time) {
	for {
		upgrade := m.upgradeNextLocked()
		if !m.serveNextLocked(now, upgrade) && !m.serveNextLocked(now, !upgrade) {
			break
		}
	}
	m.wantLocked(now)
}

// serveNextLocked gives the first of a queue its connection, if there is one.
func (m *member) serveNextLocked(now time.Time, upgrade bool) bool {
	if m.queueOf(upgrade).Len() == 0 {
		return false
	}
	t := m.takeLocked(now, upgrade)
	if t.c == nil {
		return false
	}
	m.popLocked(upgrade).got <- handover{taken: t}
	return true
}

func (m *member) popLocked(upgrade bool) *waiter {
	q := m.queueOf(upgrade)
	w, _ := q.Remove(q.Front()).(*waiter)
	w.at = nil
	return w
}

// failLocked tells all waiters that there will be no connection.
func (m *member) failLocked(err error) {
	m.failQueueLocked(false, err)
	m.failQueueLocked(true, err)
}

func (m *member) failQueueLocked(upgrade bool, err error) {
	for m.queueOf(upgrade).Len() > 0 {
		m.popLocked(upgrade).got <- handover{err: err}
	}
}
