package upstream_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead/upstream"
)

func TestAConnectionIsNotUsedAgainAfterFourSecondsWhileNothingIsKnown(t *testing.T) {
	inBubble(t, upstream.Config{}, func(t *testing.T, s *sim) {
		for _, step := range []struct {
			idle time.Duration
			want string
		}{{0, "0"}, {4*time.Second - 1, "0"}, {4 * time.Second, "1"}} {
			sleep(step.idle)
			if got := s.get(""); got != step.want {
				t.Errorf("after %v idle connection %s was used, want %s", step.idle, got, step.want)
			}
		}
	}, &origin{})
}

func TestAPeerThatClosesRightAfterAResponseDoesNotStarveThoseWhoWait(t *testing.T) {
	for _, idle := range []time.Duration{0, time.Microsecond, time.Millisecond} {
		t.Run(idle.String(), func(t *testing.T) {
			o := &origin{}
			inBubble(t, upstream.Config{}, func(t *testing.T, s *sim) {
				s.get("")
				sleep(idle)
				_ = o.peer(0).Close()
				synctest.Wait()
				began := time.Now()
				var lanes sync.WaitGroup
				for range 9 {
					lanes.Go(func() { s.get("1ms") })
				}
				lanes.Wait()
				// Four dials at once, which cost nothing here, and nine requests.
				if took := time.Since(began); took > 3*time.Millisecond {
					t.Errorf("nine requests took %v", took)
				}
				if n := len(o.dials()); n > 10 {
					t.Errorf("%d dials for ten requests", n)
				}
			}, o)
		})
	}
}
