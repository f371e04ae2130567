package upstream_test

import (
	"testing"
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
