package fanout

import (
	"container/heap"
	"math/bits"
)

const (
	// tickBits makes a tick 2^26 ns, 67 ms: how late a heartbeat or a deadline may be.
	tickBits = 26
	// wheelSlots makes a turn of the wheel 34 s. What is due later is looked at on
	// the way, and put back.
	wheelSlots = 512
)

// wheel holds flows by when they are to be looked at. A flow is not moved when
// what it waits for is put off, as by each write: it is looked at, and put back.
type wheel struct {
	slots [wheelSlots]*flow
	used  [wheelSlots / 64]uint64 // slots that may hold some
	now   uint32                  // all slots up to this tick have been seen to
}

// arm has the wheel look at f at a tick or before it.
func (w *wheel) arm(f *flow, tick uint32) {
	tick = min(max(tick, w.now+1), w.now+wheelSlots-1)
	if f.earlier != nil {
		if f.tick <= tick {
			return
		}
		f.unlink()
	}
	slot := tick % wheelSlots
	f.tick = tick
	f.link(&w.slots[slot])
	w.used[slot/64] |= 1 << (slot % 64)
}

// link puts f at the head of a list.
func (f *flow) link(head **flow) {
	f.later = *head
	if f.later != nil {
		f.later.earlier = &f.later
	}
	*head, f.earlier = f, head
}

// unlink takes f out of its list, if it is in one.
func (f *flow) unlink() {
	if f.earlier == nil {
		return
	}
	*f.earlier = f.later
	if f.later != nil {
		f.later.earlier = f.earlier
	}
	f.later, f.earlier = nil, nil
}

// advance calls look with each flow that is due by tick; it is in no slot then.
func (w *wheel) advance(tick uint32, look func(*flow)) {
	if tick <= w.now {
		return
	}
	var due *flow
	for t := range min(tick-w.now, wheelSlots) {
		slot := (w.now + 1 + t) % wheelSlots
		if w.used[slot/64]&(1<<(slot%64)) == 0 {
			continue
		}
		w.used[slot/64] &^= 1 << (slot % 64)
		for f := w.slots[slot]; f != nil; f = w.slots[slot] {
			f.unlink()
			f.link(&due)
		}
	}
	w.now = tick
	for f := due; f != nil; f = due {
		f.unlink()
		look(f)
	}
}

// next returns the first tick at which a flow may be due; ok is false when none
// is.
func (w *wheel) next() (tick uint32, ok bool) {
	for t := uint32(1); t <= wheelSlots; {
		slot := (w.now + t) % wheelSlots
		if rest := w.used[slot/64] >> (slot % 64); rest != 0 {
			return w.now + t + uint32(bits.TrailingZeros64(rest)), true
		}
		t += 64 - slot%64
	}
	return 0, false
}

// alarms are the flows whose sessions asked for a Pull at a time (Out.At), the
// earliest first: at most one for each. It implements heap.Interface.
type alarms []alarm

type alarm struct {
	at   int64
	flow *flow
}

func (a *alarms) put(f *flow, at int64) {
	if f.alarm != noAlarm {
		(*a)[f.alarm].at = at
		heap.Fix(a, int(f.alarm))
		return
	}
	heap.Push(a, alarm{at, f})
}

func (a *alarms) remove(f *flow) {
	if f.alarm != noAlarm {
		heap.Remove(a, int(f.alarm))
	}
}

// Len implements heap.Interface.
func (a *alarms) Len() int { return len(*a) }

// Less implements heap.Interface.
func (a *alarms) Less(i, j int) bool { return (*a)[i].at < (*a)[j].at }

// Swap implements heap.Interface.
func (a *alarms) Swap(i, j int) {
	s := *a
	s[i], s[j] = s[j], s[i]
	s[i].flow.alarm, s[j].flow.alarm = int32(i), int32(j)
}

// Push implements heap.Interface.
func (a *alarms) Push(x any) {
	v := x.(alarm)
	v.flow.alarm = int32(len(*a))
	*a = append(*a, v)
}

// Pop implements heap.Interface.
func (a *alarms) Pop() any {
	s := *a
	last := s[len(s)-1]
	s[len(s)-1] = alarm{}
	*a = s[:len(s)-1]
	last.flow.alarm = noAlarm
	return last
}
