package compress

import "time"

// spend notes that the coder was busy since then, with so many bytes of the body.
func (w *writer) spend(since time.Time, before int) {
	w.spent.Took += time.Since(since)
	w.spent.Before += int64(before)
}

// flushCoder has the coder write what it holds, and tells what it has done.
func (w *writer) flushCoder() error {
	began := time.Now()
	err := w.coder.Flush()
	w.spend(began, 0)
	w.progress()
	return err
}

// progress tells what the coder has done since it was told before.
func (w *writer) progress() {
	spent := w.spent
	w.spent = Progress{}
	if w.h.cfg.Progress == nil || spent == (Progress{}) {
		return
	}
	spent.Coding = w.plan.name()
	w.h.cfg.Progress(spent)
}
