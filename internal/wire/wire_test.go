package wire_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/internal/leak"
	"github.com/fairlead-edge/fairlead/internal/wire"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestAnEnvelopeCarriesDataAsWhatItIs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ contentType, data, want string }{
		{"application/json", `{"a":1}`, `"data":{"a":1}`},
		{"application/ld+json; charset=utf-8", `[1]`, `"data":[1]`},
		{"application/json", `{"a":`, `"data_base64":"eyJhIjo="`},
		{"application/json", `"text"`, `"data":"text"`},
		{"", "a\n\"b\"", `"data":"a\n\"b\""`},
		{"text/plain", "grüße", `"data":"grüße"`},
		{"text/plain", "\xff", `"data_base64":"/w=="`},
		{"application/octet-stream", "abc", `"data_base64":"YWJj"`},
		{"", "", `"data":""`},
	} {
		e := fairlead.Event{Topic: "t", ContentType: c.contentType, Data: []byte(c.data)}
		got := string(wire.AppendEnvelope(nil, &e))
		if !strings.Contains(got, c.want) {
			t.Errorf("%s %q: got %s, want it to hold %s", c.contentType, c.data, got, c.want)
		}
	}
}

func TestAnEnvelopeIsExact(t *testing.T) {
	t.Parallel()
	e := fairlead.Event{
		Topic: "a/b", Cursor: "c1", Type: "tick", Key: "eur", ContentType: "application/json",
		Time: time.Date(2026, 1, 2, 3, 4, 5, 600e6, time.UTC), Traceparent: "00-1-2-01",
		Attributes: map[string]string{"source": "s", "id": "7"}, Data: []byte(`{"bid":1.09}`),
	}
	want := `{"topic":"a/b","cursor":"c1","type":"tick","key":"eur","content_type":"application/json",` +
		`"time":"2026-01-02T03:04:05.6Z","traceparent":"00-1-2-01","attributes":{"id":"7","source":"s"},"data":{"bid":1.09}}`
	if got := string(wire.AppendEnvelope(nil, &e)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestATimeThatNobodyCouldReadIsLeftOut(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		at   time.Time
		want bool
	}{
		{time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), true},
		{time.Date(9999, 12, 31, 23, 59, 59, 0, time.FixedZone("", -3600)), false},
		{time.Date(1, 1, 1, 0, 0, 1, 0, time.UTC), true},
		{time.Date(1, 1, 1, 0, 0, 1, 0, time.FixedZone("", 3600)), false},
		{time.Date(0, 12, 31, 23, 59, 59, 0, time.UTC), false},
		{time.Date(20000, 1, 1, 0, 0, 0, 0, time.UTC), false},
	} {
		encoded := wire.AppendEnvelope(nil, &fairlead.Event{Time: c.at})
		var v wire.Envelope
		if err := json.Unmarshal(encoded, &v); err != nil || v.Time.Equal(c.at) != c.want {
			t.Errorf("%s is %s: %v", c.at, encoded, err)
		}
		if m := wire.ToProto(&fairlead.Event{Time: c.at}); (m.GetTime() != nil) != c.want || c.want && !m.GetTime().AsTime().Equal(c.at) {
			t.Errorf("%s is %v", c.at, m)
		}
	}
}

func FuzzEnvelopeRoundTrip(f *testing.F) {
	f.Add("t", "c", "k", "application/json", `{"a":[1,"x"]}`, "v")
	f.Add("t", "", "", "", "line\r\nline\x00", "\u2028")
	f.Add("t", "c", "k", "text/plain", "\xff\xfe", "")
	f.Add("t", "c", "k", "application/json", `"\ud800"`, "")
	f.Fuzz(func(t *testing.T, topic, typ, key, contentType, data, attribute string) {
		in := fairlead.Event{Topic: topic, Type: typ, Key: key, ContentType: contentType, Data: []byte(data)}
		if attribute != "" {
			in.Attributes = map[string]string{"a": attribute}
		}
		for _, s := range []string{topic, typ, key, contentType, attribute} {
			if !utf8.ValidString(s) {
				return // the root's checks keep these out
			}
		}
		var v wire.Envelope
		encoded := wire.AppendEnvelope(nil, &in)
		if err := json.Unmarshal(encoded, &v); err != nil {
			t.Fatalf("%s: %v", encoded, err)
		}
		out := v.Event()
		if out.Topic != in.Topic || out.Type != in.Type || out.Key != in.Key || out.ContentType != in.ContentType || !maps.Equal(out.Attributes, in.Attributes) {
			t.Errorf("%s reads back as %+v", encoded, out)
		}
		if !bytes.Equal(bytes.TrimSpace(out.Data), bytes.TrimSpace(in.Data)) {
			t.Errorf("%s: data %q reads back as %q", encoded, in.Data, out.Data)
		}
	})
}

func FuzzMessagesAreReadWithoutPanic(f *testing.F) {
	f.Add([]byte(`{"id":1,"subscribe":"a","after":"earliest"}`))
	f.Add([]byte(`{"event":{"data":"x"},"gap":{"skipped":null}}`))
	f.Fuzz(func(_ *testing.T, p []byte) {
		var r wire.Request
		var m wire.Message
		var g wire.Page
		if json.Unmarshal(p, &m) == nil && m.Event != nil {
			m.Event.Event()
		}
		_ = json.Unmarshal(p, &r)
		if json.Unmarshal(p, &g) == nil {
			for i := range g.Events {
				g.Events[i].Event()
			}
		}
	})
}
