package topic_test

import (
	"bytes"
	"runtime"
	"testing"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/topic"
)

func TestALargeEventThatIsOldIsEncodedOnceForAllWhoHoldIt(t *testing.T) {
	store := topic.NewStore(topic.StoreConfig{})
	for range 8 { // of which the first are cold
		b := topic.Batch{Events: []fairlead.Event{{Data: bytes.Repeat([]byte("x"), 1<<20)}}}
		if _, err := store.Append(t.Context(), "a", b); err != nil {
			t.Fatal(err)
		}
	}
	l, err := store.Get("a")
	if err != nil {
		t.Fatal(err)
	}
	first := func() *topic.Record { return drain(read(t, l, fairlead.Earliest))[0].Record }
	times := 0
	encode := func(e *fairlead.Event) []byte {
		times++
		return bytes.Clone(e.Data)
	}
	one, other := first().Frame(3, encode), first().Frame(3, encode)
	if times != 1 || &one[0] != &other[0] || len(one) != len(other) {
		t.Errorf("it was encoded %d times", times)
	}
	rest := other[1000:] // what a reader holds that has taken some of it
	runtime.GC()         // which neither of the others outlives
	if again := first().Frame(3, encode); times != 1 || &again[1000] != &rest[0] {
		t.Errorf("it was encoded %d times while it was held", times)
	}
	runtime.KeepAlive(rest)
	for range 3 {
		runtime.GC() // nobody holds it any more
	}
	if again := first().Frame(3, encode); times != 2 || len(again) != 1<<20 {
		t.Errorf("it was encoded %d times", times)
	}
}
