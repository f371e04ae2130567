package listen_test

import (
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead/internal/memnet"
	"github.com/fairlead-edge/fairlead/listen"
)

// exhausted is a network whose listener has no descriptor while short is set.
type exhausted struct {
	*memnet.Network

	short atomic.Bool
	tries atomic.Int64
}

func (l *exhausted) Accept() (net.Conn, error) {
	l.tries.Add(1)
	if l.short.Load() {
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return l.Network.Accept()
}

func TestAListenerWithoutDescriptorsWaitsAndServesWhenThereAreSome(t *testing.T) {
	simulated(t, func(t *testing.T) {
		l := &exhausted{Network: memnet.New()}
		l.short.Store(true)
		s := serveOn(t, l, listen.Config{}, func(http.ResponseWriter, *http.Request) {})
		time.Sleep(10 * time.Second)
		if n := l.tries.Load(); n < 10 || n > 1000 {
			t.Errorf("it tried %d times in 10 s", n)
		}
		l.short.Store(false)
		c := dial1(t, l.Network)
		c.send(plain)
		if resp, _ := c.answer("GET"); resp.StatusCode != http.StatusOK {
			t.Errorf("when there are descriptors: %s", resp.Status)
		}
		synctest.Wait()
		if got, want := s.Stats(), (listen.Stats{HTTP1: 1, Opened: 1}); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	})
}
