package compress

import (
	"bytes"
	"fmt"
	"sync"
	"testing"
)

func dictionary(t *testing.T) *Dictionary {
	t.Helper()
	d, err := NewDictionary(bytes.Repeat([]byte("data: what all events have in common\n\n"), 20), DictionaryConfig{Match: "/*"})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestAnEventIsCodedOnceHoweverManyReadersWantIt(t *testing.T) {
	d := dictionary(t)
	const readers = 50
	var frames [readers]*byte
	var wg sync.WaitGroup
	for i := range readers {
		wg.Go(func() { frames[i] = &d.frame([]byte("data: an event\n\n"))[0] })
	}
	wg.Wait()
	for i, f := range frames {
		if f != frames[0] {
			t.Errorf("reader %d has a frame of its own", i)
		}
	}
	if other := &d.frame([]byte("data: an evenT\n\n"))[0]; other == frames[0] {
		t.Error("another event has the same frame")
	}
}

func TestWhatIsSharedIsBounded(t *testing.T) {
	d := dictionary(t)
	again := []byte("data: the one that is wanted again and again\n\n")
	first := &d.frame(again)[0]
	for i := range 20_000 {
		d.frame(fmt.Appendf(nil, "data: %d %0200d\n\n", i, 0))
		if i%1000 == 0 && &d.frame(again)[0] != first {
			t.Fatalf("what is wanted often was forgotten after %d others", i)
		}
		if d.frames.size > maxGeneration {
			t.Fatalf("%d bytes", d.frames.size)
		}
	}
	held := 0
	for _, generation := range []map[string]*frame{d.frames.young, d.frames.old} {
		for key, f := range generation {
			held += len(key) + cap(f.coded)
		}
	}
	if held > 2*maxGeneration {
		t.Errorf("%d bytes are held", held)
	}
}

func TestAStreamHoldsNoMemoryBetweenEvents(t *testing.T) {
	var out bytes.Buffer
	o, _ := dictionary(t).newOnce().(*once)
	o.Reset(&out)
	for range 3 {
		if _, err := o.Write([]byte("data: a\n\n")); err != nil || o.pending == nil {
			t.Fatalf("%v, pending %v", err, o.pending)
		}
		if err := o.Flush(); err != nil || o.pending != nil {
			t.Fatalf("%v, pending %v", err, o.pending)
		}
	}
}
