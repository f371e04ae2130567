package topic_test

import (
	"cmp"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/topic"
	"pgregory.net/rapid"
)

// world is a store with two topics, its readers, and what is known of them.
type world struct {
	store   *topic.Store
	policy  topic.Policy
	lives   map[*topic.Log]*life
	readers []*reader
	cursors []fairlead.Cursor // seen anywhere
}

// reader is one that is woken.
type reader struct {
	*topic.Reader
	places map[*topic.Log]*place
	flag   flag
	left   bool      // its latest poll ended early
	due    time.Time // what its latest poll told
}

func newReader() *reader {
	r := &reader{places: map[*topic.Log]*place{}}
	r.Reader = topic.NewWokenReader(&r.flag)
	return r
}

var (
	names    = rapid.SampledFrom([]string{"a", "b"})
	words    = rapid.SliceOfN(rapid.SampledFrom([]string{"loose", "loose!", "x=1", "x=1", "x=1!", "y=1", "y=big"}), 0, 4)
	policies = rapid.Custom(func(t *rapid.T) topic.Policy {
		return topic.Policy{
			Deliver:     rapid.SampledFrom([]topic.Deliver{topic.Every, topic.Newest, topic.LatestPerKey, topic.LatestPerKey, topic.Wait}).Draw(t, "deliver"),
			Newest:      rapid.IntRange(1, 3).Draw(t, "newest"),
			Rate:        rapid.SampledFrom([]float64{0, 0, 0.1}).Draw(t, "rate"),
			OnLag:       rapid.SampledFrom([]topic.OnLag{topic.LagGap, topic.LagGap, topic.LagClose}).Draw(t, "on lag"),
			Events:      rapid.IntRange(1, 8).Draw(t, "events"),
			Bytes:       rapid.SampledFrom([]int64{0, 1200}).Draw(t, "bytes"),
			Age:         rapid.SampledFrom([]time.Duration{0, 30 * time.Second}).Draw(t, "age"),
			Patience:    rapid.SampledFrom([]time.Duration{0, 0, time.Second}).Draw(t, "patience"),
			WaitTimeout: time.Second,
		}
	})
)

// life returns what is known of a log.
func (w *world) life(l *topic.Log) *life {
	if w.lives[l] == nil {
		w.lives[l] = &life{pure: true}
		w.lives[l].policy(w.policy)
	}
	return w.lives[l]
}

func (w *world) append(t *rapid.T) {
	name, batch := names.Draw(t, "topic"), topic.Batch{
		Events: events(strings.Join(words.Draw(t, "events"), " ")),
		Close:  rapid.IntRange(0, 19).Draw(t, "close") == 19,
	}
	for i := range batch.Events {
		if string(batch.Events[i].Data) == "y=big" {
			batch.Events[i].Data = make([]byte, 300)
		}
	}
	res, err := w.store.Append(t.Context(), name, batch)
	if err != nil {
		if c := fairlead.AsError(err).Code; c != fairlead.Conflict && c != fairlead.Overloaded && c != fairlead.TooLarge {
			t.Fatal(err)
		}
		return
	}
	l, err := w.store.Get(name)
	if err != nil {
		t.Fatal(err)
	}
	f := w.life(l)
	f.events = append(f.events, batch.Events...)
	if _, n, _ := res.Last.Parse(); n != uint64(len(f.events)) || res.Count != len(batch.Events) {
		t.Fatalf("number %d after %d events: %+v", n, len(f.events), res)
	}
	w.cursors = append(w.cursors, res.Last)
}

func (w *world) finish(t *rapid.T) {
	l, err := w.store.Get(names.Draw(t, "topic"))
	if err != nil {
		t.Skip(err)
	}
	switch rapid.SampledFrom([]string{"close", "fault", "remove"}).Draw(t, "how") {
	case "close":
		l.Close()
	case "fault":
		l.Fault(fairlead.Errorf(fairlead.Fault, "cut off"))
	case "remove":
		if err := w.store.Remove(l.Name()); err != nil {
			t.Fatal(err)
		}
	}
}

func (w *world) reload(t *rapid.T) {
	w.policy = policies.Draw(t, "policy")
	w.store.Reload(func(string) topic.Policy { return w.policy })
	for _, f := range w.lives {
		f.policy(w.policy)
	}
}

// add lets a reader read the log and notes from where.
func (w *world) add(t *rapid.T, r *reader, l *topic.Log, after fairlead.Cursor) {
	p, wanted := placeOf(l, w.life(l), after)
	err := r.Add(l, after)
	switch {
	case err == nil && wanted == nil:
		r.places[l] = p
	case errors.Is(err, topic.ErrPastEnd) && errors.Is(wanted, topic.ErrPastEnd):
	case err != nil && fairlead.AsError(err).Code == fairlead.Conflict: // wait, or subscribed already
	case err != nil && fairlead.AsError(err).Code == fairlead.NotFound: // removed
	default:
		t.Fatalf("reading after %s: %v, want %v", after, err, wanted)
	}
}

func (w *world) subscribe(t *rapid.T) {
	l, err := w.store.Get(names.Draw(t, "topic"))
	if err != nil {
		t.Skip(err)
	}
	start := slices.Concat([]fairlead.Cursor{fairlead.Earliest, fairlead.Latest, fairlead.Snapshot}, w.cursors)
	if len(w.readers) < 3 {
		w.readers = append(w.readers, newReader())
	}
	w.add(t, w.reader(t), l, rapid.SampledFrom(start).Draw(t, "after"))
}

func (w *world) reader(t *rapid.T) *reader {
	if len(w.readers) == 0 {
		t.Skip("no reader")
	}
	return w.readers[rapid.IntRange(0, len(w.readers)-1).Draw(t, "reader")]
}

// read reads one page and checks every item of it.
func (w *world) read(t *rapid.T, r *reader, size int) int {
	buf := make([]topic.Item, size)
	cause := r.flag.woken.Swap(false) || r.left || !r.due.IsZero() && !time.Now().Before(r.due)
	n, more, due := r.PollSome(buf, rapid.SampledFrom([]int{1, 8, 1 << 20}).Draw(t, "bytes"))
	r.left, r.due = more, due
	if n > 0 && !cause {
		t.Fatal("there is something to read, of which nobody has told")
	}
	for _, item := range buf[:n] {
		p := r.places[item.Log]
		if p == nil {
			t.Fatalf("an item of a topic that is not read: %+v", item)
		}
		if err := p.check(item); err != nil {
			t.Fatal(err)
		}
		w.cursors = append(w.cursors, item.Cursor)
	}
	return n
}

// drain reads all there is, after which nothing may be missing.
func (w *world) drain(t *rapid.T, r *reader) {
	for w.read(t, r, 3) > 0 {
	}
	for l, p := range r.places {
		check := p.atHead
		if strings.Contains(l.Stats().Policy, "at most") && !r.due.IsZero() { // the rest is held back
			check = p.fair
		}
		if err := check(w.life(l)); err != nil {
			t.Fatal(err)
		}
	}
}

// resume replaces a reader by one that begins where it ended.
func (w *world) resume(t *rapid.T) {
	i := slices.Index(w.readers, w.reader(t))
	old := w.readers[i]
	old.Close()
	r := newReader()
	w.readers[i] = r
	for _, l := range w.logs() {
		if p := old.places[l]; p != nil {
			w.add(t, r, l, p.cursor)
			if now := r.places[l]; now != nil && !p.cursor.IsWord() && !now.foreign && now.pos != p.told {
				t.Fatalf("resumed at %d after %d", now.pos, p.told)
			}
		}
	}
}

// logs returns the logs that are known, in an order that rapid can replay.
func (w *world) logs() []*topic.Log {
	var all []*topic.Log
	for l := range w.lives {
		all = append(all, l)
	}
	slices.SortFunc(all, func(a, b *topic.Log) int {
		return cmp.Compare(a.Bounds().Latest, b.Bounds().Latest)
	})
	return all
}

// For any interleaving of appends, evictions, ends, removals, reloads and
// reads, a reader sees increasing numbers, and all it missed is a gap or
// counted as skipped; place holds the rules.
func TestEveryReaderSeesAllOrIsToldWhatItMissed(t *testing.T) {
	for range 10 { // a bubble each: within one, rapid's day of time runs out
		everyReaderSeesAll(t)
	}
}

func everyReaderSeesAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rapid.Check(struct{ testing.TB }{t}, func(t *rapid.T) { // rapid would ask a *testing.T for its deadline, which a bubble forbids
			w := &world{policy: policies.Draw(t, "policy"), lives: map[*topic.Log]*life{}}
			w.store = topic.NewStore(topic.StoreConfig{Policy: func(string) topic.Policy { return w.policy }})
			defer func() {
				for _, r := range w.readers {
					r.Close()
				}
			}()
			t.Repeat(map[string]func(*rapid.T){
				"append":  w.append,
				"append2": w.append, // more often than the rest
				"append3": w.append,
				"finish":  w.finish,
				"reload":  w.reload,
				"sub":     w.subscribe,
				"sub2":    w.subscribe,
				"read":    func(t *rapid.T) { w.read(t, w.reader(t), rapid.IntRange(1, 5).Draw(t, "size")) },
				"drain":   func(t *rapid.T) { w.drain(t, w.reader(t)) },
				"resume":  w.resume,
				"leave": func(t *rapid.T) {
					r, all := w.reader(t), w.logs()
					if len(all) == 0 {
						t.Skip("no topic")
					}
					l := all[rapid.IntRange(0, len(all)-1).Draw(t, "log")]
					if _, reads := r.places[l]; r.Remove(l) != reads {
						t.Fatal("Remove does not know what is read")
					}
					delete(r.places, l)
				},
				"sweep": func(*rapid.T) { w.store.Sweep() },
				"time": func(t *rapid.T) {
					time.Sleep(time.Duration(rapid.IntRange(0, 20).Draw(t, "seconds")) * time.Second)
				},
			})
			w.policy = topic.Policy{Deliver: w.policy.Deliver, Age: w.policy.Age}
			w.store.Reload(func(string) topic.Policy { return w.policy })
			for _, r := range w.readers {
				time.Sleep(10 * time.Second) // what the rate held back
				w.drain(t, r)
			}
		})
	})
}
