package client_test

import (
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/client"
)

func cursor(s string) fairlead.Cursor { return fairlead.Cursor(s) }

func TestPollingGoesFromPageToPage(t *testing.T) {
	t.Parallel()
	lost := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1000")
		page(`{"events":[{"cursor":"3","data":"c"}],"next":"3","closed":false}`)(w, r)
		panic(http.ErrAbortHandler)
	}
	for name, c := range map[string]struct {
		after     fairlead.Cursor
		all       []http.HandlerFunc
		want, ask []string
	}{
		"events, skipped ones and the end": {
			"0", []http.HandlerFunc{
				page(`{"events":[{"cursor":"1","data":"a"},{"cursor":"2","data":"b"}],"next":"2","closed":false}`),
				page(`{"events":[],"next":"9","closed":false}`),
				page(`{"events":[{"cursor":"10","data":"c","skipped":3}],"next":"11","closed":true,"end":{"cursor":"11"}}`),
			},
			[]string{"a@1", "b@2", "c@10", "end@11"}, []string{"0", "2", "9"},
		},
		"a page that broke is asked for again": {
			"2", []http.HandlerFunc{lost, lost, page(`{"events":[{"cursor":"3","data":"c"}],"next":"3","closed":true}`)},
			[]string{"c@3", "end@3"}, []string{"2", "2", "2"},
		},
		"the end of the log is found before it is waited for": {
			"", []http.HandlerFunc{lost, page(`{"events":[],"next":"6","closed":false}`), page(`{"events":[],"next":"6","closed":true}`)},
			[]string{"end@6"}, []string{"latest", "latest", "6"},
		},
		"a gap leaves the reader where it was": {
			"0", []http.HandlerFunc{page(`{"events":[{"cursor":"6","data":"f"}],"next":"6","closed":true,"gap":{"after":"0","earliest":"6","skipped":5}}`)},
			[]string{"gap(0..6 5)@0", "f@6", "end@6"}, []string{"0"},
		},
		"a fault": {
			"0", []http.HandlerFunc{page(`{"events":[],"next":"1","closed":true,"fault":{"code":"cancelled","message":"m","cursor":"1"}}`)},
			[]string{"fault(cancelled: m)@1"}, []string{"0"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var a asked
				s := serve(t, a.by(replies(c.all...)))
				items, err := collect(t.Context(), url, client.Config{Transport: client.Poll, HTTP: s.Client, After: c.after})
				if !slices.Equal(items, c.want) || err != nil {
					t.Errorf("%q, %v, want %q", items, err, c.want)
				}
				a.want(t, "GET /topics/a?after=%s&limit=100 ", c.ask)
			})
		})
	}
}

func TestAServerThatDoesNotWaitIsNotHammered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var a asked
		s := serve(t, a.by(page(`{"events":[],"next":"0","closed":false}`)))
		ctx, cancel := contextUntil(t, 10*time.Second+time.Millisecond, http.ErrServerClosed)
		defer cancel()
		if _, err := collect(ctx, url, client.Config{Transport: client.Poll, HTTP: s.Client, After: "0"}); err != http.ErrServerClosed {
			t.Error(err)
		}
		if n := len(a.requests()); n != 22 {
			t.Errorf("%d requests in 10 s", n)
		}
	})
}
