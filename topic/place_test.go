package topic_test

import (
	"errors"
	"fmt"
	"slices"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/topic"
)

// life is what a test knows of one life of a topic.
type life struct {
	events []fairlead.Event // number n is at n-1
	newest bool             // the policy newest was in force once
	pure   bool             // no policy was ever in force that skips
}

// policy notes that p is in force from now on.
func (f *life) policy(p topic.Policy) {
	f.newest = f.newest || p.Deliver == topic.Newest
	f.pure = f.pure && (p.Deliver == topic.Every || p.Deliver == topic.Wait)
}

// snapshot is the latest of each key from number first on.
func (f *life) snapshot(first uint64) []uint64 {
	var snap []uint64
	for n := first; n <= uint64(len(f.events)); n++ {
		if f.events[n-1].Key != "" && !f.replaced(n) {
			snap = append(snap, n)
		}
	}
	return snap
}

// replaced reports whether a later event has the key of number n.
func (f *life) replaced(n uint64) bool {
	key := f.events[n-1].Key
	return key != "" && slices.ContainsFunc(f.events[n:], func(e fairlead.Event) bool { return e.Key == key })
}

// place is what a test knows of one reader in one log: it checks each item.
type place struct {
	log     *topic.Log
	pos     uint64          // nothing up to this number is owed any more
	told    uint64          // number of the last item, or of where it began
	cursor  fairlead.Cursor // of the last item
	foreign bool            // an unknown gap is owed
	snap    []uint64        // still owed of a snapshot
	snapEnd uint64
	skipped []uint64 // passed over by policy
	done    bool
}

// placeOf returns the place that reading l after the cursor begins at.
func placeOf(l *topic.Log, f *life, after fairlead.Cursor) (*place, error) {
	b := l.Bounds()
	own, latest, err := b.Latest.Parse()
	if err != nil {
		return nil, err
	}
	first := latest + 1 - uint64(l.Stats().Events)
	p := &place{log: l, cursor: after, pos: first - 1}
	switch after {
	case fairlead.Earliest:
	case fairlead.Latest:
		p.pos = latest
	case fairlead.Snapshot:
		p.snap, p.snapEnd = f.snapshot(first), latest
		p.endSnapshot()
	default:
		id, n, err := after.Parse()
		switch {
		case err != nil:
			return nil, err
		case id == own && n <= latest:
			p.pos = n
		case id == own && n == latest+1 && b.Closed:
			return nil, topic.ErrPastEnd
		default:
			p.foreign = true
		}
	}
	p.told = p.pos
	return p, nil
}

// endSnapshot puts p where the snapshot was taken when nothing is owed of it.
func (p *place) endSnapshot() {
	if len(p.snap) == 0 {
		p.pos, p.snapEnd = max(p.pos, p.snapEnd), 0
	}
}

// pass returns what is owed before number n, and owes it no longer.
func (p *place) pass(n uint64) (owed []uint64) {
	for len(p.snap) > 0 && p.snap[0] < n {
		owed, p.snap = append(owed, p.snap[0]), p.snap[1:]
	}
	for m := max(p.pos, p.snapEnd) + 1; m < n; m++ {
		owed = append(owed, m)
	}
	return owed
}

// arrive sets the number of the last item.
func (p *place) arrive(n uint64) {
	p.pos, p.told = n, n
	if len(p.snap) > 0 && p.snap[0] == n {
		p.snap = p.snap[1:]
	}
	if n >= p.snapEnd {
		p.snapEnd = 0
	}
}

// check fails unless the item is exactly what may come next.
func (p *place) check(i topic.Item) error {
	_, n, err := i.Cursor.Parse()
	if i.Kind == topic.KindEvent {
		_, n, err = i.Record.Event.Cursor.Parse()
	}
	was := p.cursor
	p.cursor = i.Cursor
	switch {
	case err != nil:
		return err
	case p.done:
		return errors.New("something follows what is last")
	case p.foreign:
		p.foreign = false
		p.arrive(n)
		if i.Kind != topic.KindGap || !i.Gap.Unknown || i.Gap.After != was {
			return fmt.Errorf("after a foreign cursor comes %+v", i)
		}
		return nil
	case i.Kind == topic.KindGap || i.Kind == topic.KindLag:
		return p.checkGap(i, n)
	case n <= p.pos:
		return fmt.Errorf("number %d comes after %d", n, p.pos)
	}
	if i.Kind == topic.KindEvent && p.snapEnd > 0 && n <= p.snapEnd && !slices.Contains(p.snap, n) {
		return fmt.Errorf("number %d is not in the snapshot %v", n, p.snap)
	}
	owed := p.pass(n)
	p.arrive(n)
	if p.done = i.Kind != topic.KindEvent; !p.done {
		p.endSnapshot()
		p.told = p.pos
		if _, at, _ := i.Cursor.Parse(); at != p.pos {
			return fmt.Errorf("the cursor of number %d is %s; the reader is at %d", n, i.Cursor, p.pos)
		}
	}
	p.skipped = append(p.skipped, owed...)
	if uint64(len(owed)) != i.Skipped {
		return fmt.Errorf("%d skipped before number %d, but these are missing: %v", i.Skipped, n, owed)
	}
	return nil
}

func (p *place) checkGap(i topic.Item, n uint64) error {
	_, after, err := i.Gap.After.Parse()
	if err != nil {
		return err
	}
	if after != p.told {
		return fmt.Errorf("a gap after %d, but the reader was at %d", after, p.told)
	}
	_, earliest, err := i.Gap.Earliest.Parse()
	if err != nil {
		return err
	}
	if i.Kind == topic.KindLag {
		p.done = true
		if n != after {
			return fmt.Errorf("sent away at %d, after a gap from %d", n, after)
		}
		n = earliest - 1
	}
	owed := p.pass(n + 1)
	p.arrive(n)
	if p.done && uint64(len(owed)) < i.Gap.Skipped && i.Gap.Earliest == p.log.Bounds().Latest {
		owed = append(owed, p.pass(n+2)...) // nothing was retained
	}
	if p.done {
		p.told = after
	}
	if i.Gap.Unknown || i.Skipped != 0 || uint64(len(owed)) != i.Gap.Skipped || len(owed) == 0 {
		return fmt.Errorf("%+v, but these are missing: %v", i.Gap, owed)
	}
	if earliest != n && earliest != n+1 {
		return fmt.Errorf("earliest is %d after a gap to %d", earliest, n)
	}
	return nil
}

// atHead fails unless everything has been read or accounted for.
func (p *place) atHead(f *life) error {
	if !p.done && (len(p.snap) > 0 || p.foreign || max(p.pos, p.snapEnd) < uint64(len(f.events))) {
		return fmt.Errorf("nothing more comes of %+v, at %d of %d (snapshot %v)", p.log.Stats(), p.pos, len(f.events), p.snap)
	}
	p.pos, p.snapEnd = max(p.pos, p.snapEnd), 0
	return p.fair(f)
}

// fair fails unless the policies allow what was skipped.
func (p *place) fair(f *life) error {
	for _, n := range p.skipped {
		switch {
		case f.pure:
			return fmt.Errorf("number %d was skipped and every event is due", n)
		case f.events[n-1].Critical:
			return fmt.Errorf("number %d was skipped and is critical", n)
		case n == uint64(len(f.events)):
			return fmt.Errorf("number %d was skipped and is the newest", n)
		case !f.newest && !f.replaced(n):
			return fmt.Errorf("number %d was skipped and is the latest of its key %q", n, f.events[n-1].Key)
		}
	}
	return nil
}
