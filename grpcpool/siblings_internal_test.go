package grpcpool

import (
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

func TestTargetsThatAreGoneAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		known := func() int {
			families.Lock()
			defer families.Unlock()
			return len(families.of)
		}
		before := known()
		var all []*siblings
		for i := range 2 * maxFamilies {
			all = append(all, enlist(fmt.Sprint("target ", i), slog.New(slog.DiscardHandler)))
		}
		if n := known(); n > maxFamilies {
			t.Errorf("%d targets are known", n)
		}
		for _, s := range all {
			s.leave()
			s.leave()
			if n := s.others(); n != 0 {
				t.Errorf("%d others of %s", n, s.target)
			}
		}
		time.Sleep(2 * madeWithin)
		enlist("another", slog.New(slog.DiscardHandler)).leave()
		if n := known(); n > before+1 {
			t.Errorf("%d targets are known, %d before", n, before)
		}
	})
}
