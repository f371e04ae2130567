package grpcpool_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead/grpcpool"
)

// directory is a Lookup that a test writes.
type directory struct {
	mu    sync.Mutex
	all   []string
	valid time.Duration
	err   error
	asked []time.Time
}

func (d *directory) lookup(context.Context) ([]string, time.Duration, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = append(d.asked, time.Now())
	return d.all, d.valid, d.err
}

func (d *directory) set(err error, all ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all, d.err = all, err
}

// times returns how often it was asked since the last time.
func (d *directory) times() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := len(d.asked)
	d.asked = nil
	return n
}

func TestWhatALookupFindsIsUsedAndAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &city{}
		for _, a := range []string{"a", "b", "c"} {
			c.start(t, a)
		}
		d := &directory{all: []string{"b", "a", "b"}, valid: 5 * time.Second}
		p := open(t, "orders", grpcpool.Config{DialOptions: c.options(), Resolver: grpcpool.Lookup(d.lookup), Refresh: -1})
		connections := func(want int) {
			t.Helper()
			synctest.Wait()
			if s := p.Stats(); s.Channels[0].Connections != want {
				t.Errorf("%+v, want %d connections", s, want)
			}
		}
		connections(2)
		if s := p.Stats(); s.Target != "lookup:///orders" {
			t.Error(s.Target)
		}
		time.Sleep(59 * time.Second)
		if n := d.times(); n != 12 {
			t.Errorf("asked %d times in a minute", n)
		}
		d.set(nil, "c")
		time.Sleep(5 * time.Second)
		connections(1)
		if err := unary(t.Context(), p); err != nil {
			t.Error(err)
		}
		if n, _ := c.calls("c"); n != 1 {
			t.Errorf("%d calls", n)
		}
		d.times()
		d.set(nil) // nothing is no answer: what there was is kept
		time.Sleep(10 * time.Second)
		connections(1)
		if why := p.Stats().Channels[0].Reason; !strings.Contains(why, "no address") {
			t.Error(why)
		}
		if n := d.times(); n < 6 || n > 12 {
			t.Errorf("asked %d times in 10 s of errors", n)
		}
		d.set(errors.New("the directory is closed"))
		time.Sleep(5 * time.Second)
		connections(1)
		if why := p.Stats().Channels[0].Reason; why != "the directory is closed" {
			t.Error(why)
		}
	})
}

func TestALookupIsAskedSoonAfterALostConnectionButNotWithoutPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &city{}
		stop := c.start(t, "a")
		c.start(t, "b")
		d := &directory{all: []string{"a"}} // valid for no time at all
		p := open(t, "orders", grpcpool.Config{DialOptions: c.options(), Resolver: grpcpool.Lookup(d.lookup), Refresh: -1})
		time.Sleep(10 * time.Second)
		if n := d.times(); n < 90 || n > 101 {
			t.Errorf("asked %d times in 10 s", n)
		}
		d.mu.Lock()
		d.valid = time.Hour
		d.mu.Unlock()
		time.Sleep(time.Minute)
		d.times()
		time.Sleep(time.Minute)
		if n := d.times(); n != 0 {
			t.Errorf("asked %d times in a minute of an hour", n)
		}
		d.set(nil, "b")
		stop()
		time.Sleep(time.Second)
		if n := d.times(); n == 0 || n > 10 {
			t.Errorf("asked %d times in a second after the loss", n)
		}
		if err := unary(t.Context(), p); err != nil {
			t.Error(err)
		}
	})
}

func TestALookupEndsWithItsPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := open(t, "orders", grpcpool.Config{Resolver: grpcpool.Lookup(func(ctx context.Context) ([]string, time.Duration, error) {
			<-ctx.Done()
			return nil, 0, ctx.Err()
		})})
		time.Sleep(5 * time.Second)
		_ = p.Close()
		p = open(t, "orders", grpcpool.Config{Resolver: grpcpool.Lookup(func(ctx context.Context) ([]string, time.Duration, error) {
			<-ctx.Done()
			return nil, 0, ctx.Err()
		})})
		time.Sleep(10*time.Second + time.Millisecond)
		if why := p.Stats().Channels[0].Reason; !strings.Contains(why, "deadline") {
			t.Errorf("reason %q after the lookup's time", why)
		}
	})
}
