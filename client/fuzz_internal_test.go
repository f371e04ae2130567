package client

import (
	"bytes"
	"testing"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/sse"
)

func check(t *testing.T, r *reader, item *Item) {
	t.Helper()
	switch {
	case item.Kind == KindFault && item.Fault == nil:
		t.Error("a fault without an error")
	case item.Kind == KindGap && item.Gap.Skipped < -1:
		t.Errorf("%d events skipped", item.Gap.Skipped)
	case r.pause < 0 || r.pause > maxHint || r.retry < 0 || r.retry > maxHint:
		t.Errorf("pause %v, retry %v", r.pause, r.retry)
	}
}

func FuzzMessagesOfAWebSocket(f *testing.F) {
	for _, seed := range []string{
		`{"topic":"a","cursor":"1","data":{"x":1},"content_type":"application/json","skipped":1}`, `{"cursor":"1","data_base64":"/w=="}`,
		`{"gap":{"after":"1","earliest":"2","skipped":18446744073709551615}}`, `{"gap":{"skipped":null}}`, `{"end":{}}`,
		`{"fault":{"code":"x","message":"y"}}`, `{"draining":{"retry_after_ms":9223372036854775807,"cursors":{"a":"1"}}}`, `[]`, `null`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s := &socketSession{reader: &reader{}}
		item, known, err := s.item(b)
		if known && err != nil {
			t.Error("an item and an error")
		}
		check(t, s.reader, &item)
	})
}

func FuzzPages(f *testing.F) {
	for _, seed := range []string{
		`{"events":[{"cursor":"1","data":"x"}],"next":"1","closed":false}`, `{"next":"1","closed":true,"end":{"cursor":"2"}}`,
		`{"next":"1","gap":{"skipped":1},"fault":{"code":"c"}}`, `{}`, `{"closed":true}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s := &pollSession{reader: &reader{}}
		err := s.take(b)
		for i := range s.items {
			check(t, s.reader, &s.items[i])
		}
		if err == nil && len(s.items) == 0 && s.then == "" {
			t.Error("a page that leads nowhere")
		}
	})
}

func FuzzEventStreams(f *testing.F) {
	f.Add([]byte("id: 1\nretry: 5\n\ndata: a\n\nevent: fairlead.gap\ndata: {\"skipped\":1}\n\n"), false)
	f.Add([]byte("event: fairlead.draining\ndata: {\"retry_after_ms\":-1}\n\nevent: fairlead.fault\ndata: {}\n\n"), false)
	f.Add([]byte("id: 1\ndata: {\"cursor\":\"1\",\"data\":\"x\"}\n\nevent: fairlead.end\ndata: {}\n\n"), true)
	f.Fuzz(func(t *testing.T, b []byte, envelope bool) {
		r := &reader{after: fairlead.Earliest}
		s := &sseSession{reader: r, decoder: sse.NewDecoder(bytes.NewReader(b)), envelope: envelope}
		for {
			item, err := s.next()
			if err != nil {
				return
			}
			check(t, r, &item)
		}
	})
}
