package client

import (
	"bytes"
	"context"
	"encoding/base64"
	"io"
	"math"
	"net/http"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

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

// answers is a round tripper that gives each request the same answer.
type answers struct {
	body    []byte
	trailer http.Header
}

func (a answers) RoundTrip(req *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: http.StatusOK, Proto: "HTTP/2.0", ProtoMajor: 2, Header: http.Header{"Content-Type": {"application/grpc"}},
		Body: io.NopCloser(bytes.NewReader(a.body)), Trailer: a.trailer, Request: req,
	}, nil
}

func FuzzCalls(f *testing.F) {
	details := func(all ...proto.Message) (text string) {
		s := &status.Status{Code: 15, Message: "it broke"}
		for _, m := range all {
			d, err := anypb.New(m)
			if err != nil {
				f.Fatal(err)
			}
			s.Details = append(s.Details, d)
		}
		b, err := proto.Marshal(s)
		if err != nil {
			f.Fatal(err)
		}
		return base64.RawStdEncoding.EncodeToString(b)
	}
	f.Add([]byte("\x00\x00\x00\x00\x03\x0a\x011\x00\x00\x00\x00\x02\x1a\x00\x00\x00\x00\x00\x02\x22\x00"), "0", "", "", "")
	f.Add([]byte("\x00\x00\x00\x00\x02\xff\xff"), "14", "later", "", "9223372036854775807")
	f.Add([]byte("\x01\x00\x00\x00\x01"), "8", "", "", "-1")
	f.Add([]byte{}, "15", "", details(&errdetails.ErrorInfo{Domain: errorDomain, Reason: "FAULT", Metadata: map[string]string{"cursor": "1"}},
		&errdetails.RetryInfo{RetryDelay: &durationpb.Duration{Seconds: math.MaxInt64}}), "")
	f.Fuzz(func(t *testing.T, body []byte, code, message, details, pushback string) {
		trailer := http.Header{"Grpc-Status": {code}, "Grpc-Message": {message}, pushbackTrailer: {pushback}}
		if details != "" {
			trailer["Grpc-Status-Details-Bin"] = []string{details}
		}
		r, err := newReader("http://topic.test/topics/a", Config{Transport: GRPC, HTTP: &http.Client{Transport: answers{body, trailer}}}.withDefaults())
		if err != nil {
			t.Fatal(err)
		}
		r.cfg.MaxEvent = 1 << 16
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		s, err := r.open(ctx, cancel)
		if err != nil {
			return
		}
		defer s.close()
		for {
			item, err := s.next()
			if e, ok := asError(err); ok && (e.RetryAfter < 0 || e.RetryAfter > maxHint) {
				t.Errorf("try again after %v", e.RetryAfter)
			}
			if err != nil {
				return
			}
			check(t, r, &item)
			if item.Kind == KindEnd || item.Kind == KindFault {
				return
			}
		}
	})
}
