package topic_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/internal/leak"
	"github.com/fairlead-edge/fairlead/topic"
)

func TestMain(m *testing.M) { leak.Main(m) }

// events makes events of words: "a" is untyped and without a key, "k=a" has the
// key k, and a "!" at the end makes it critical.
func events(words string) []fairlead.Event {
	var made []fairlead.Event
	for word := range strings.FieldsSeq(words) {
		var e fairlead.Event
		word, e.Critical = strings.CutSuffix(word, "!")
		if key, _, ok := strings.Cut(word, "="); ok {
			e.Key = key
		}
		e.Data = []byte(word)
		made = append(made, e)
	}
	return made
}

// publish appends each of the words by itself.
func publish(t *testing.T, l *topic.Log, words string) {
	t.Helper()
	for _, e := range events(words) {
		if _, err := l.Append(t.Context(), topic.Batch{Events: []fairlead.Event{e}}); err != nil {
			t.Fatal(err)
		}
	}
}

// read returns a reader of one log.
func read(t *testing.T, l *topic.Log, after fairlead.Cursor) *topic.Reader {
	t.Helper()
	r := topic.NewReader()
	t.Cleanup(r.Close)
	if err := r.Add(l, after); err != nil {
		t.Fatal(err)
	}
	return r
}

// drain returns all there is to read now.
func drain(r *topic.Reader) []topic.Item {
	var items []topic.Item
	for buf := make([]topic.Item, 7); ; { // 7 does not divide what tests append
		n := r.Poll(buf)
		if n == 0 {
			return items
		}
		items = append(items, buf[:n]...)
	}
}

// show writes items as words: an event's data, "!" after it when critical, "+2" before what was skipped
// to, gap2 or gap? for the unknown, end, fault:code, lag2.
func show(items []topic.Item) string {
	var words []string
	for _, i := range items {
		if i.Skipped > 0 {
			words = append(words, fmt.Sprintf("+%d", i.Skipped))
		}
		missed := fmt.Sprint(i.Gap.Skipped)
		if i.Gap.Unknown {
			missed = "?"
		}
		switch i.Kind {
		case topic.KindEvent:
			word := string(i.Record.Event.Data)
			if i.Record.Event.Critical {
				word += "!"
			}
			words = append(words, word)
		case topic.KindGap:
			words = append(words, "gap"+missed)
		case topic.KindLag:
			words = append(words, "lag"+missed)
		case topic.KindEnd:
			words = append(words, "end")
		case topic.KindFault:
			words = append(words, "fault:"+string(i.Fault.Code))
		}
	}
	return strings.Join(words, " ")
}

// want reads all there is and compares it, written as show writes it.
func want(t *testing.T, r *topic.Reader, words string) []topic.Item {
	t.Helper()
	items := drain(r)
	if got := show(items); got != words {
		t.Fatalf("read %q, want %q", got, words)
	}
	return items
}

// wantCode fails unless err is an *Error of the code.
func wantCode(t *testing.T, err error, code fairlead.Code) {
	t.Helper()
	if err == nil || fairlead.AsError(err).Code != code {
		t.Fatalf("error %v, want code %s", err, code)
	}
}
