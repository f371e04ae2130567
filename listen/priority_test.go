package listen_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"

	"github.com/fairlead-edge/fairlead/listen"
)

const bodySize = 256 << 10

// wide are settings of a client that takes as much as comes.
var wide = http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30}

func (c *talk2) widen() { c.must(c.WriteWindowUpdate(0, 1<<30)) }

// large serves bodies of bodySize, with the priority that the query tells.
func large(w http.ResponseWriter, r *http.Request) {
	if p := r.URL.Query().Get("priority"); p != "" {
		w.Header().Set("Priority", p)
	}
	_, _ = w.Write(make([]byte, bodySize))
}

// ends returns the streams in the order in which n responses were complete, and
// how many bytes of the others came before.
func (c *talk2) ends(n int) (order []uint32, others map[uint32]int) {
	c.t.Helper()
	got := make(map[uint32]int)
	others = make(map[uint32]int)
	total := 0
	for len(order) < n {
		f, ok := c.frame().(*http2.DataFrame)
		if !ok {
			continue
		}
		got[f.StreamID] += len(f.Data())
		total += len(f.Data())
		if len(f.Data()) > 0 && got[f.StreamID] == bodySize {
			order = append(order, f.StreamID)
			others[f.StreamID] = total - got[f.StreamID]
		}
	}
	return order, others
}

func TestAnUrgentResponseOvertakesTwentyOthers(t *testing.T) {
	simulated(t, func(t *testing.T) {
		n := serve(t, listen.Config{}, large)
		for _, urgent := range []struct{ path, priority string }{
			{"/", "u=0"},
			{"/?priority=u%3D0", "u=6"}, // as its handler says
		} {
			c := dial2(t, n, wide)
			c.widen()
			for range 20 {
				c.ask("GET", "/", false, "priority", "u=5")
				synctest.Wait() // until all that can be written is
			}
			id := c.ask("GET", urgent.path, false, "priority", urgent.priority)
			synctest.Wait()
			order, others := c.ends(21)
			// Before it: what two of them may write at a time, and what was in
			// net/http's hands.
			if order[0] != id || others[id] > 3*16<<10 {
				t.Errorf("%s: stream %d was to be the first of %v, after %d bytes", urgent.path, id, order, others[id])
			}
			if !slices.IsSorted(order[1:]) {
				t.Errorf("others of one urgency are not in the order of their requests: %v", order)
			}
		}
	})
}

func TestResponsesTakeTurnsIfTheClientWantsOrKnowsNoPriorities(t *testing.T) {
	simulated(t, func(t *testing.T) {
		n := serve(t, listen.Config{}, large)
		for _, fields := range [][]string{nil, {"priority", "u=2, i"}} {
			c := dial2(t, n, wide)
			c.widen()
			for range 4 {
				c.ask("GET", "/", false, fields...)
			}
			synctest.Wait()
			order, others := c.ends(4)
			for i, id := range order {
				if others[id] < 3*(bodySize-3*(16<<10))-bodySize {
					t.Errorf("%v: response %d of %v ended after %d bytes of others", fields, i, order, others[id])
				}
			}
		}
	})
}

func TestAResponseThatItsClientDoesNotReadHoldsUpNoOther(t *testing.T) {
	simulated(t, func(t *testing.T) {
		n := serve(t, listen.Config{}, large)
		c := dial2(t, n) // in whose windows one response does not fit
		c.widen()
		stuck := []uint32{c.ask("GET", "/", false, "priority", "u=0"), c.ask("GET", "/", false, "priority", "u=0")}
		synctest.Wait()
		began := time.Now()
		id := c.ask("GET", "/", false, "priority", "u=3")
		c.must(c.WriteWindowUpdate(id, 1<<30))
		order, _ := c.ends(1)
		if order[0] != id || time.Since(began) > 550*time.Millisecond {
			t.Errorf("stream %d ended after %v", order[0], time.Since(began))
		}
		for _, id := range stuck {
			c.must(c.WriteWindowUpdate(id, 1<<30))
		}
		for left := 2; left > 0; {
			if f, ok := c.frame().(*http2.DataFrame); ok && f.StreamEnded() && f.StreamID != id {
				left--
			}
		}
	})
}

func TestAnEventIsNotHeldUpByUrgentResponses(t *testing.T) {
	simulated(t, func(t *testing.T) {
		event := make(chan string)
		n := serve(t, listen.Config{}, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/events" {
				_, _ = w.Write(make([]byte, 64<<20))
				return
			}
			_ = http.NewResponseController(w).Flush()
			for e := range event {
				_, _ = io.WriteString(w, e)
				_ = http.NewResponseController(w).Flush()
			}
		})
		c := dial2(t, n, wide)
		c.widen()
		id := c.ask("GET", "/events", false, "priority", "u=4")
		c.frame()
		for range 3 {
			c.ask("GET", "/", false, "priority", "u=1")
		}
		synctest.Wait()
		sent := time.Now()
		event <- "data: 1\n\n"
		for {
			if f, ok := c.frame().(*http2.DataFrame); ok && f.StreamID == id {
				break
			}
			time.Sleep(10 * time.Millisecond) // a slow link
		}
		if took := time.Since(sent); took > 600*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		_ = c.conn.Close()
		close(event)
	})
}

func TestAResponseThatIsResetGivesItsTurnUp(t *testing.T) {
	simulated(t, func(t *testing.T) {
		ended := make(chan error, 1)
		n := serve(t, listen.Config{}, func(w http.ResponseWriter, r *http.Request) {
			_, err := w.Write(make([]byte, bodySize))
			if r.URL.Path == "/reset" {
				ended <- err
			}
		})
		c := dial2(t, n, wide)
		c.widen()
		for range 3 {
			c.ask("GET", "/", false, "priority", "u=1")
		}
		id := c.ask("GET", "/reset", false, "priority", "u=7")
		synctest.Wait()
		c.must(c.WriteRSTStream(id, http2.ErrCodeCancel))
		began := time.Now()
		if err := <-ended; err == nil || time.Since(began) != 0 {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		c.ends(3)
	})
}

func TestWhatIsWrittenInAnySizesArrivesWhole(t *testing.T) {
	simulated(t, func(t *testing.T) {
		var want strings.Builder
		sizes := []int{1, 4095, 1, 4096, 4097, 3, 16 << 10, 16<<10 + 1, 5000, 0, 100 << 10}
		for i, size := range sizes {
			want.WriteString(strings.Repeat(string(rune('a'+i)), size))
		}
		n := serve(t, listen.Config{}, func(w http.ResponseWriter, r *http.Request) {
			for i, size := range sizes {
				part := strings.Repeat(string(rune('a'+i)), size)
				var got int
				var err error
				if i%2 == 0 {
					got, err = io.WriteString(w, part)
				} else {
					got, err = fmt.Fprint(w, part)
				}
				if got != size || err != nil {
					t.Errorf("%d of %d, %v", got, size, err)
				}
				if r.URL.Path == "/flush" && i%3 == 0 {
					if err := http.NewResponseController(w).Flush(); err != nil {
						t.Error(err)
					}
				}
			}
		})
		for _, path := range []string{"/", "/flush"} {
			c := dial2(t, n, wide)
			c.widen()
			c.ask("GET", path, false)
			var got strings.Builder
			for {
				f, ok := c.frame().(*http2.DataFrame)
				if !ok {
					continue
				}
				got.Write(f.Data())
				if f.StreamEnded() {
					break
				}
			}
			if got.String() != want.String() {
				t.Errorf("%s: %d bytes, want %d", path, got.Len(), want.Len())
			}
		}
	})
}

func TestAWriteDeadlineHoldsForOneThatWaitsItsTurn(t *testing.T) {
	simulated(t, func(t *testing.T) {
		ended := make(chan error, 1)
		n := serve(t, listen.Config{}, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/deadline" {
				_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
			}
			_, err := w.Write(make([]byte, bodySize))
			if r.URL.Path == "/deadline" {
				ended <- err
			}
		})
		c := dial2(t, n) // whose windows are small
		c.widen()
		for range 2 {
			c.ask("GET", "/", false, "priority", "u=0")
		}
		c.ask("GET", "/deadline", false, "priority", "u=7")
		began := time.Now()
		var reading sync.WaitGroup
		reading.Go(func() {
			for c.frame() != nil {
			}
		})
		if err := <-ended; err == nil || time.Since(began) != 100*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		_ = c.conn.Close()
		reading.Wait()
	})
}
