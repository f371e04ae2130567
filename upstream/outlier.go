package upstream

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// maxEjection is how long an endpoint is out at most.
const maxEjection = 5 * time.Minute

// windowSlots is how many parts Outliers.Window is counted in: what is
// forgotten goes a tenth at a time.
const windowSlots = 10

// validate says what is wrong with o, whose zero fields mean their defaults.
func (o Outliers) validate() error {
	switch {
	case !(o.FailureRate >= 0): // NaN too
		return fmt.Errorf("upstream: outliers: the failure rate of %g is no share; use one from 0 to 1, or 2 so that no rate is too high", o.FailureRate)
	case o.MinRequests < 0:
		return fmt.Errorf("upstream: outliers: a rate of at least %d requests makes no sense; use 1 or more", o.MinRequests)
	case o.Window < 0:
		return fmt.Errorf("upstream: outliers: the window of %v is negative; leave it out for the default", o.Window)
	case o.Time < 0 || o.Time > maxEjection:
		return fmt.Errorf("upstream: outliers: a time out of %v is not possible; use up to %v", o.Time, maxEjection)
	case !(o.MaxShare >= 0 && o.MaxShare <= 1):
		return errors.New("upstream: outliers: the maximum share is from 0 to 1, like 0.5; to let no endpoint be taken out, turn outliers off")
	}
	return nil
}

// outliers is the pool's view of its endpoints: who is out, and how many may
// be. It is safe for concurrent use.
type outliers struct {
	cfg   Outliers // with its defaults
	slot  time.Duration
	began time.Time // times are kept as what has passed since, which no change of the clock moves

	mu      sync.Mutex // taken after a record's
	records map[*record]struct{}
}

func newOutliers(cfg Outliers) *outliers {
	return &outliers{cfg: cfg, slot: max(1, cfg.Window/windowSlots), began: time.Now(), records: make(map[*record]struct{})}
}

// add returns the record of a new endpoint, which is in.
func (o *outliers) add() *record {
	r := &record{pool: o}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.records[r] = struct{}{}
	return r
}

// remove forgets an endpoint that has gone. It is then never put out.
func (o *outliers) remove(r *record) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.records, r)
}

// putOut takes r out until end if as many as may be out are not out already:
// MaxShare of them, at least one, and never the only one.
func (o *outliers) putOut(r *record, passed, end time.Duration) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := len(o.records)
	if _, known := o.records[r]; !known || n == 1 {
		return false
	}
	room := max(1, int(o.cfg.MaxShare*float64(n)+1e-9)) // 0.29 of 100 is 29
	for other := range o.records {
		if other.outAt(passed) {
			room--
		}
	}
	if room <= 0 {
		return false
	}
	r.until.Store(int64(end))
	return true
}

// record is what is known of the answers of one endpoint. It is safe for
// concurrent use.
type record struct {
	pool  *outliers
	until atomic.Int64 // since pool.began, when the last ejection ends or ended; 0: there was none

	mu     sync.Mutex
	row    int                // failures since the last success
	counts [windowSlots]count // a ring by slot
	times  int                // ejections, less the forgiven ones
}

// count is what was seen during one slot of the window.
type count struct {
	slot          int64 // since pool.began
	total, failed int
}

// isOut reports whether the endpoint is out.
func (r *record) isOut(now time.Time) bool {
	return r.until.Load() != 0 && r.outAt(now.Sub(r.pool.began))
}

func (r *record) outAt(passed time.Duration) bool {
	return passed < time.Duration(r.until.Load())
}

// observe notes the result of an attempt. It reports whether this one has put
// the endpoint out, until when, and why. Results that come while the endpoint
// is out are those of old attempts, or of a panic, and do not count. If no
// more endpoints may be out, a later failure asks again.
func (r *record) observe(now time.Time, failed bool) (out bool, until time.Time, why string) {
	cfg := &r.pool.cfg
	if cfg.Off {
		return false, time.Time{}, ""
	}
	passed := max(0, now.Sub(r.pool.began))
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.outAt(passed) {
		return false, time.Time{}, ""
	}
	r.note(passed, failed)
	if !failed {
		return false, time.Time{}, ""
	}
	if why = r.verdict(passed); why == "" {
		return false, time.Time{}, ""
	}
	length, times := r.sentence(passed)
	if !r.pool.putOut(r, passed, passed+length) {
		return false, time.Time{}, ""
	}
	r.times, r.row, r.counts = times, 0, [windowSlots]count{}
	return true, now.Add(length), why
}

// note counts a result. The caller holds r.mu.
func (r *record) note(passed time.Duration, failed bool) {
	slot := int64(passed / r.pool.slot)
	c := &r.counts[slot%windowSlots]
	if c.slot < slot {
		*c = count{slot: slot}
	}
	c.total++
	r.row++
	if failed {
		c.failed++
	} else {
		r.row = 0
	}
}

// verdict says why the endpoint should be out; "" if it should not. The
// caller holds r.mu.
func (r *record) verdict(passed time.Duration) string {
	cfg := &r.pool.cfg
	if cfg.Consecutive >= 0 && r.row >= cfg.Consecutive {
		return fmt.Sprintf("%d failures in a row", r.row)
	}
	total, failed := 0, 0
	oldest := int64(passed/r.pool.slot) - windowSlots + 1
	for i := range r.counts {
		if c := &r.counts[i]; c.slot >= oldest {
			total += c.total
			failed += c.failed
		}
	}
	if total >= cfg.MinRequests && float64(failed) >= cfg.FailureRate*float64(total) {
		return fmt.Sprintf("%d of %d requests failed in %g s", failed, total, cfg.Window.Seconds())
	}
	return ""
}

// sentence returns how long the endpoint shall be out: Time, doubled for each
// ejection before, of which one is forgiven for each Time that the endpoint
// has been in since the last. The caller holds r.mu.
func (r *record) sentence(passed time.Duration) (length time.Duration, times int) {
	in := passed - time.Duration(r.until.Load())
	times = max(0, r.times-int(min(in/r.pool.cfg.Time, 64)))
	length = r.pool.cfg.Time << times // of which times is no more than doubles it to maxEjection
	if length < maxEjection {
		times++
	}
	return min(jitter(length), maxEjection), times
}
