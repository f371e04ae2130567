package deliver_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/deliver"
	fairleadv1 "github.com/fairlead-edge/fairlead/proto/fairlead/v1"
	"github.com/fairlead-edge/fairlead/topic"
)

func TestOnlyTheCursorOfAnEventThatCameIsAnAcknowledgement(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := deliver.New(deliver.Config{AllowPublish: true})
		publishAll(t, h, "a", "1", "2", "3", "4")
		publishAll(t, h, "b", "other")
		f := h.Feed(t.Context(), deliver.FeedConfig{Transport: deliver.TransportGRPC})
		defer f.End(nil)
		if err := f.SetWindow(2); err != nil {
			t.Fatal(err)
		}
		if err := f.Subscribe(t.Context(), "a", fairlead.Earliest, unheard); err != nil {
			t.Fatal(err)
		}
		sent := wantNext(t, f, "1", "2")
		at := sent[1].Cursor
		life, seq, err := at.Parse()
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			name string
			at   fairlead.Cursor
			want fairlead.Code
		}{
			{"a", "", fairlead.InvalidArgument},
			{"a", "zzzz", fairlead.InvalidArgument},
			{"a", fairlead.Latest, fairlead.InvalidArgument},
			{"a", fairlead.NewCursor(life, seq+1), fairlead.InvalidArgument},
			{"a", fairlead.NewCursor(life+1, seq), fairlead.InvalidArgument},
			{"b", at, fairlead.NotFound},
		} {
			if err := f.Acknowledge(c.name, c.at); err == nil || fairlead.AsError(err).Code != c.want {
				t.Errorf("%s, %q: %v, want %s", c.name, c.at, err, c.want)
			}
		}
		wantNext(t, f) // there is still no room
		if err := f.Acknowledge("a", at); err != nil {
			t.Error(err)
		}
		wantNext(t, f, "3", "4")
		if err := f.Acknowledge("a", sent[0].Cursor); err != nil { // which came late
			t.Error(err)
		}
	})
}

func TestATopicThatWasRemovedFaultsBeforeItsNameIsSubscribedAgain(t *testing.T) {
	t.Parallel()
	topics := topic.NewStore(topic.StoreConfig{})
	h := deliver.New(deliver.Config{AllowPublish: true, Topics: topics})
	publishAll(t, h, "a", "1", "2")
	f := h.Feed(t.Context(), deliver.FeedConfig{Transport: deliver.TransportGRPC})
	defer f.End(nil)
	if err := f.Subscribe(t.Context(), "a", fairlead.Earliest, unheard); err != nil {
		t.Fatal(err)
	}
	if err := topics.Remove("a"); err != nil {
		t.Fatal(err)
	}
	publishAll(t, h, "a", "anew")
	if err := f.Subscribe(t.Context(), "a", fairlead.Earliest, unheard); err == nil || fairlead.AsError(err).Code != fairlead.Conflict {
		t.Errorf("before the fault: %v", err)
	}
	wantNext(t, f, "1", "2", fmt.Sprintf("kind %d", topic.KindFault))
	if err := f.Subscribe(t.Context(), "a", fairlead.Earliest, unheard); err != nil {
		t.Error(err)
	}
	wantNext(t, f, "anew")
}

func TestAMessageWithAWrongMemberIsRefusedByItsID(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, serve func(deliver.Config) *site) {
		s := serve(deliver.Config{AllowPublish: true})
		c := s.socket("/topics", "fairlead.v1.json")
		for member, says := range map[string]string{
			`"window":"5"`:                           "window",
			`"window":1e99`:                          "window",
			`"subscribe":7`:                          "subscribe",
			`"publish":"a","data_base64":"%"`:        "base64",
			`"publish":"a","data":1,"time":"soon"`:   "RFC 3339",
			`"publish":"a","data":1,"time":5`:        "time",
			`"publish":"a","data":1,"cursor":"x"`:    "no cursor yet",
			`"publish":"a","data":1,"attributes":[]`: "attributes",
		} {
			for _, format := range []string{`{"id":7,%s}`, `{%s,"id":7}`} {
				c.send("%s", strings.Replace(format, "%s", member, 1))
				if m := c.next(); string(m.ID) != "7" || m.Error == nil || m.Error.Code != fairlead.InvalidArgument || !strings.Contains(m.Error.Message, says) {
					t.Errorf("%s: %s", member, m.text)
				}
			}
		}
		c.send(`{"id":8,"publish":"a","data":1,"time":"2026-01-02T03:04:05.5+01:00"}`)
		if m := c.next(); m.OK == nil {
			t.Error(m.text)
		}
		if got := s.do("GET", "/topics/a", "", "Accept: application/json").body; !strings.Contains(got, `"time":"2026-01-02T02:04:05.5Z"`) {
			t.Error(got)
		}
	})
}

func TestATimeThatCannotBeIsRefused(t *testing.T) {
	t.Parallel()
	for _, at := range []*timestamppb.Timestamp{{Seconds: 1 << 60}, {Nanos: -1}, {Seconds: time.Date(0, 12, 31, 0, 0, 0, 0, time.UTC).Unix()}} {
		_, err := deliver.BatchOf(&fairleadv1.PublishRequest{Topic: "a", Events: []*fairleadv1.Event{{Data: []byte("1"), Time: at}}})
		if err == nil || fairlead.AsError(err).Code != fairlead.InvalidArgument {
			t.Errorf("%v: %v", at, err)
		}
	}
}
