package sse

import (
	"io"
	"time"
)

// watchdog reads a body and lets its timer run only while a read waits, so that
// silence is the sender's, never the time between two reads.
type watchdog struct {
	body    io.Reader
	timer   *time.Timer
	timeout time.Duration
}

func (w *watchdog) Read(p []byte) (int, error) {
	w.timer.Reset(w.timeout)
	defer w.timer.Stop()
	return w.body.Read(p)
}
