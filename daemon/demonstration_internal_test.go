package daemon

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead/topic"
)

func TestADemonstrationEndsWhenItsPageAsksForNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, open := &daemon{}, http.NewServeMux()
		d.handleDemonstrations(http.NewServeMux(), open, &demo{})
		one, err := d.shows.start(&net.TCPAddr{})
		if err != nil {
			t.Fatal(err)
		}
		another, err := d.shows.start(&net.TCPAddr{})
		if err != nil {
			t.Fatal(err)
		}
		ask := func(of *demonstration) int {
			w := httptest.NewRecorder()
			open.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/demo/"+of.key+"/state", http.NoBody))
			return w.Code
		}
		for range 3 {
			time.Sleep(demonstrationKept - time.Second)
			if status := ask(one); status != http.StatusOK {
				t.Errorf("it asks in time: %d", status)
			}
		}
		if status := ask(another); status != http.StatusNotFound {
			t.Errorf("it asks too late: %d", status)
		}
		another.kept.Reset(0) // who has found it before its end
		time.Sleep(demonstrationKept + time.Second)
		synctest.Wait()
		if status := ask(one); status != http.StatusNotFound || len(d.shows.all) != 0 {
			t.Errorf("it asks too late: %d, %d are left", status, len(d.shows.all))
		}
	})
}

func TestTheDemoGivesAResponseOrAnError(t *testing.T) {
	t.Parallel()
	topics := topic.NewStore(topic.StoreConfig{MaxTopics: 1})
	if _, err := topics.Open("other"); err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodGet, livePath, http.NoBody)
	if res, err := (&demo{topics: topics}).RoundTrip(r); res != nil || err == nil { //nolint:bodyclose // there is none
		t.Errorf("%v, %v", res, err)
	}
	ctx, end := context.WithCancel(t.Context())
	defer end()
	topics = topic.NewStore(topic.StoreConfig{})
	res, err := (&demo{topics: topics}).RoundTrip(r.WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
}
