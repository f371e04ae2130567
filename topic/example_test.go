package topic_test

import (
	"context"
	"fmt"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/topic"
)

// Two readers of one log, each at its own place. One leaves, and whoever comes
// back with its cursor goes on exactly there.
func Example() {
	ctx := context.Background()
	l := topic.New("answers/42", topic.Policy{})
	say := func(words ...string) {
		for _, w := range words {
			if _, err := l.Append(ctx, topic.Batch{Events: []fairlead.Event{{Data: []byte(w)}}}); err != nil {
				fmt.Println(err)
			}
		}
	}
	say("one", "line", "runs")

	ann, bob := topic.NewReader(), topic.NewReader()
	defer bob.Close()
	_ = ann.Add(l, fairlead.Earliest)
	_ = bob.Add(l, fairlead.Earliest)

	buf := make([]topic.Item, 2)
	n, _ := ann.Next(ctx, buf)
	for _, item := range buf[:n] {
		fmt.Printf("ann: %s\n", item.Record.Event.Data)
	}
	at := buf[n-1].Cursor
	ann.Close() // the network changes

	say("free")
	l.Close()

	again := topic.NewReader()
	defer again.Close()
	_ = again.Add(l, at)
	for _, who := range []struct {
		name   string
		reader *topic.Reader
	}{{"ann again", again}, {"bob", bob}} {
		for ended := false; !ended; {
			n, _ := who.reader.Next(ctx, buf)
			for _, item := range buf[:n] {
				if ended = item.Kind == topic.KindEnd; ended {
					fmt.Println(who.name + ": end")
					continue
				}
				fmt.Printf("%s: %s\n", who.name, item.Record.Event.Data)
			}
		}
	}
	// Output:
	// ann: one
	// ann: line
	// ann again: runs
	// ann again: free
	// ann again: end
	// bob: one
	// bob: line
	// bob: runs
	// bob: free
	// bob: end
}

// Price ticks are conflated: a reader that was away for a moment gets the
// latest price of each key, and is told how many it did not need to see. The
// order, which is critical, is not dropped.
func ExampleLog_conflation() {
	policy, err := topic.ParseDeliver("latest-per-key")
	if err != nil {
		fmt.Println(err)
	}
	l := topic.New("prices", policy)
	r := topic.NewReader()
	defer r.Close()
	_ = r.Add(l, fairlead.Latest)
	_, _ = l.Append(context.Background(), topic.Batch{Events: []fairlead.Event{
		{Key: "oil", Data: []byte("oil 71.1")},
		{Key: "tea", Data: []byte("tea 3.0")},
		{Key: "oil", Data: []byte("oil 71.3")},
		{Key: "oil", Data: []byte("bought oil at 71.3"), Critical: true},
		{Key: "oil", Data: []byte("oil 71.9")},
	}})
	buf := make([]topic.Item, 10)
	for _, item := range buf[:r.Poll(buf)] {
		fmt.Printf("%s (skipped %d)\n", item.Record.Event.Data, item.Skipped)
	}
	// Output:
	// tea 3.0 (skipped 1)
	// bought oil at 71.3 (skipped 1)
	// oil 71.9 (skipped 0)
}

// bell is a Waker: an engine would put the connection on its list of those to serve.
type bell struct{ rung int }

func (b *bell) Wake() { b.rung++ }

// A reader without a goroutine or a channel, one of very many: it is polled
// when it has rung, and rings once however much is published meanwhile.
func ExampleNewWokenReader() {
	ctx := context.Background()
	l := topic.New("answers/42", topic.Policy{})
	b := new(bell)
	r := topic.NewWokenReader(b)
	defer r.Close()
	_ = r.Add(l, fairlead.Latest)

	buf := make([]topic.Item, 8)
	for _, words := range [][]string{{}, {"one"}, {"line", "runs", "free"}} {
		for _, w := range words {
			_, _ = l.Append(ctx, topic.Batch{Events: []fairlead.Event{{Data: []byte(w)}}})
		}
		n, _, due := r.PollSome(buf, 1<<20) // n is less than the buffer takes: nothing is left
		fmt.Println("rung:", b.rung, "items:", n, "held back by a rate:", !due.IsZero())
	}
	// Output:
	// rung: 1 items: 0 held back by a rate: false
	// rung: 2 items: 1 held back by a rate: false
	// rung: 3 items: 3 held back by a rate: false
}
