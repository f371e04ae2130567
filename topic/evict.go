package topic

// evict drops what the policy no longer retains. l.mu is held.
func (l *Log) evict(now int64) {
	for l.head < len(l.records) {
		over := len(l.records)-l.head > l.policy.Events || l.size > l.policy.Bytes
		if !over && !l.expired(now) {
			break
		}
		l.evictOldest()
	}
	l.shrink()
}

// expire drops what is too old, without touching what is owed to the reader of
// a Wait topic. l.mu is held.
func (l *Log) expire(now int64) {
	for l.head < len(l.records) && l.expired(now) {
		l.evictOldest()
	}
	l.shrink()
}

// expired reports whether the oldest event is past its age. Under Wait an
// event that was not consumed has no age.
func (l *Log) expired(now int64) bool {
	old := l.records[l.head]
	return now-old.at >= int64(l.policy.Age) && (l.policy.Deliver != Wait || old.seq < l.held())
}

func (l *Log) evictOldest() {
	r := l.records[l.head]
	l.records[l.head] = nil
	l.head++
	l.size -= r.size()
	if !l.passesOver(r) {
		l.lost = r.seq
	}
	x := l.extra
	if x == nil {
		return
	}
	if r.seq <= x.cold {
		x.coldSize -= r.size()
	}
	if x.keys != nil && x.keys[r.Event.Key] == r {
		delete(x.keys, r.Event.Key)
	}
	for len(x.keyed) > 0 && x.keyed[0].last <= r.seq {
		delete(x.byKey, x.keyed[0].key)
		x.keyed[0] = nil
		x.keyed = x.keyed[1:]
	}
}

// shrink gives memory back when nothing is retained.
func (l *Log) shrink() {
	if l.head < len(l.records) {
		return
	}
	l.records, l.head = nil, 0
	if x := l.extra; x != nil {
		x.keys = nil
		if len(x.keyed) == 0 {
			x.keyed, x.byKey = nil, nil
		}
	}
}
