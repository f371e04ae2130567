package observe

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestABudgetIsThereAgainEachSecondForThoseWhoSeldomCome(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var b budget
		taken := 0
		for range 8 * 5 {
			if b.take(2) {
				taken++
			}
			time.Sleep(time.Second / 5)
		}
		if taken != 8*2 {
			t.Errorf("%d in 8 s, of 2 a second", taken)
		}
	})
}
