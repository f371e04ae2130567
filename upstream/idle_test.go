package upstream_test

import (
	"strings"
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
	t.Parallel()
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

// patient closes connections that have been idle for d.
func patient(d time.Duration, headers ...string) func(*peer) {
	return func(p *peer) {
		for {
			_ = p.SetReadDeadline(time.Now().Add(d))
			req, ok := p.next()
			if !ok {
				return
			}
			if think, err := time.ParseDuration(req.URL.Path[1:]); err == nil {
				<-time.After(think)
			}
			p.answer(headers...)
		}
	}
}

func TestReuseStaysBelowTheTimeAfterWhichThePeerWasSeenToClose(t *testing.T) {
	inBubble(t, upstream.Config{}, func(t *testing.T, s *sim) {
		s.get("")
		sleep(5 * time.Second)
		s.saw("closed", "idle_peer: the peer closed it after 5s idle; used again within 4s from now on; 1 requests in 5s")
		const within = 4*time.Second - 2*time.Millisecond
		if e := s.endpoint(0); e.LearnedIdle != 5 || e.ReuseWithin != within.Seconds() {
			t.Errorf("%+v", e)
		}
		for _, step := range []struct {
			idle time.Duration
			want string
		}{{0, "1"}, {within - 1, "1"}, {within, "2"}} {
			sleep(step.idle)
			if conn := s.get(""); conn != step.want {
				t.Errorf("after %v idle connection %s was used, want %s", step.idle, conn, step.want)
			}
		}
	}, &origin{serve: patient(5 * time.Second)})
}

func TestOneConnectionShowsWhenThePeerClosesItAndIsNotUsed(t *testing.T) {
	inBubble(t, upstream.Config{}, func(t *testing.T, s *sim) {
		var lanes sync.WaitGroup
		for range 3 {
			lanes.Go(func() { s.get("1ms") })
		}
		lanes.Wait()
		sleep(4500 * time.Millisecond)
		s.saw("closed", "idle_local: idle for 4s; the endpoint's connections are used again within 4s", "idle_local: ")
		if all := s.Connections(10); len(all) != 1 || all[0].State != "probe" {
			t.Errorf("connections: %+v", all)
		}
		if conn := s.get(""); conn != "3" {
			t.Errorf("connection %s was used", conn)
		}
		sleep(500 * time.Millisecond) // 5 s for the probe, but for the thinking
		if e := s.endpoint(0); e.LearnedIdle != 5 || e.Idle != 1 {
			t.Errorf("%+v", e)
		}
	}, &origin{serve: patient(5 * time.Second)})
}

func TestAnEndpointThatDoesNotCloseIsTrustedForLonger(t *testing.T) {
	o := &origin{}
	inBubble(t, upstream.Config{}, func(t *testing.T, s *sim) {
		s.get("")
		sleep(time.Minute)
		s.saw("closed", "idle_local: idle for 1m0s, and the peer had not closed it")
		s.get("")
		sleep(53 * time.Second)
		if conn := s.get(""); conn != "1" {
			t.Errorf("after 53 s idle, connection %s was used", conn)
		}
	}, o)
}

func TestARestartIsOneObservationAndIsForgotten(t *testing.T) {
	o := &origin{}
	inBubble(t, upstream.Config{}, func(t *testing.T, s *sim) {
		var lanes sync.WaitGroup
		for _, think := range []string{"10ms", "20ms", "30ms", "40ms"} {
			lanes.Go(func() { s.get(think) })
		}
		lanes.Wait()
		sleep(time.Second)
		for n := range 4 {
			_ = o.peer(n).Close()
			sleep(10 * time.Millisecond)
		}
		learned := s.endpoint(0).LearnedIdle
		if learned < 1 || learned > 1.06 { // that of the one used first, whenever it was closed
			t.Errorf("learned %v s", learned)
		}
		s.get("")
		sleep(time.Minute)
		if e := s.endpoint(0); e.LearnedIdle != 75 {
			t.Errorf("after a connection was idle for a minute: %+v", e)
		}
	}, o)
}

func TestTheKeepAliveFieldIsBelieved(t *testing.T) {
	inBubble(t, upstream.Config{}, func(t *testing.T, s *sim) {
		const within = 1600*time.Millisecond - 2*time.Millisecond
		s.get("")
		if e := s.endpoint(0); e.ReuseWithin != within.Seconds() {
			t.Errorf("%+v", e)
		}
		sleep(within - 1)
		first := s.get("")
		sleep(within)
		if second := s.get(""); first != "0" || second != "1" {
			t.Errorf("connections %s and %s", first, second)
		}
	}, &origin{serve: patient(time.Hour, "Keep-Alive: timeout=2, max=100")})
}

func TestAShortIdleTimeoutIsKept(t *testing.T) {
	inBubble(t, upstream.Config{Connections: upstream.Connections{IdleTimeout: time.Second}}, func(t *testing.T, s *sim) {
		s.get("")
		sleep(time.Second - 1)
		if e := s.endpoint(0); e.Idle != 1 {
			t.Errorf("%+v", e)
		}
		sleep(1)
		s.saw("closed", "idle_local: idle for 1s")
	}, &origin{})
}

func TestAnOldConnectionIsReplacedButNoResponseCut(t *testing.T) {
	o := &origin{}
	inBubble(t, upstream.Config{Connections: upstream.Connections{MaxAge: time.Minute}}, func(t *testing.T, s *sim) {
		for range 3 {
			conn, began := s.get(""), time.Now()
			for s.get("") == conn {
				time.Sleep(100 * time.Millisecond)
			}
			if age := time.Since(began); age < 54*time.Second || age > 66*time.Second+100*time.Millisecond {
				t.Errorf("connection %s was used for %v", conn, age)
			}
		}
		sleep(time.Minute + 6*time.Second)
		old := len(s.told("closed"))
		s.get("2m")
		synctest.Wait()
		if told := s.told("closed")[old:]; len(told) != 1 || told[0] != "age: it is 2m0s old; 1 requests in 2m0s" {
			t.Errorf("closed: %q", told)
		}
	}, o)
}

func TestAConnectionEndsAfterItsNumberOfRequests(t *testing.T) {
	inBubble(t, upstream.Config{Connections: upstream.Connections{MaxRequests: 100}}, func(t *testing.T, s *sim) {
		carried := map[string]int{}
		for range 550 {
			carried[s.get("")]++
		}
		for _, conn := range []string{"0", "1", "2", "3"} {
			if n := carried[conn]; n < 90 || n > 110 {
				t.Errorf("connection %s carried %d requests", conn, n)
			}
		}
		for _, told := range s.told("closed")[:4] {
			if !strings.HasPrefix(told, "requests: it has carried ") {
				t.Errorf("closed: %q", told)
			}
		}
	}, &origin{})
}
