package topic_test

import (
	"testing"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/topic"
)

func TestARepeatedPublishIsStoredOnce(t *testing.T) {
	t.Parallel()
	l := topic.New("n", topic.Policy{Events: 3})
	r := read(t, l, fairlead.Earliest)
	batch := topic.Batch{Events: events("a b"), IdempotencyKey: "k", Fingerprint: [32]byte{1}}
	first, err := l.Append(t.Context(), batch)
	if err != nil || first.Repeated {
		t.Fatal(first, err)
	}
	again, err := l.Append(t.Context(), batch)
	if err != nil || !again.Repeated || again.First != first.First || again.Last != first.Last || again.Count != 2 {
		t.Fatalf("repeated as %+v, %v; was %+v", again, err, first)
	}
	want(t, r, "a b")

	other := batch
	other.Fingerprint = [32]byte{2}
	_, err = l.Append(t.Context(), other)
	wantCode(t, err, fairlead.KeyReused)

	publish(t, l, "c d") // evicts a
	if res, err := l.Append(t.Context(), batch); err != nil || !res.Repeated {
		t.Fatal("forgotten while the last event is retained:", res, err)
	}
	publish(t, l, "e") // evicts b
	if res, err := l.Append(t.Context(), other); err != nil || res.Repeated {
		t.Fatal("remembered after eviction:", res, err)
	}
	want(t, r, "gap2 e a b")
}

func TestARepeatAfterTheEndIsStillTheFirstResult(t *testing.T) {
	t.Parallel()
	l := topic.New("n", topic.Policy{})
	batch := topic.Batch{Events: events("a"), Close: true, IdempotencyKey: "k"}
	first, err := l.Append(t.Context(), batch)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := l.Append(t.Context(), batch); err != nil || !again.Repeated || again.Last != first.Last {
		t.Fatal(again, err)
	}
	batch.IdempotencyKey = "another"
	_, err = l.Append(t.Context(), batch)
	wantCode(t, err, fairlead.Conflict)
}

func TestARefusedPublishLeavesItsKeyUnused(t *testing.T) {
	t.Parallel()
	l := topic.New("n", topic.Policy{Bytes: 1000})
	batch := topic.Batch{Events: []fairlead.Event{{Data: make([]byte, 1000)}}, IdempotencyKey: "k"}
	_, err := l.Append(t.Context(), batch)
	wantCode(t, err, fairlead.TooLarge)
	batch.Events, batch.Fingerprint = events("a"), [32]byte{1}
	if res, err := l.Append(t.Context(), batch); err != nil || res.Repeated {
		t.Fatal(res, err)
	}
}
