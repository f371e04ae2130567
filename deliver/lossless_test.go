package deliver_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/deliver"
	"github.com/fairlead-edge/fairlead/topic"
	"github.com/fairlead-edge/fairlead/websocket"
)

// take reads up to n events after the cursor over one transport, drops the
// connection, and returns where it stands.
func take(s *site, transport int, after fairlead.Cursor, n int, got *[]string) fairlead.Cursor {
	path := "/topics/t?after=" + string(after)
	switch transport {
	case 0:
		stream := s.events(path)
		defer stream.close()
		for range n {
			e := stream.next()
			*got = append(*got, string(e.Data))
		}
		return fairlead.Cursor(stream.LastEventID())
	case 1:
		socket := s.socket(path)
		defer socket.CloseNow()
		for range n {
			m := socket.next()
			*got = append(*got, m.data())
			after = m.Cursor
		}
		return after
	case 2:
		socket := s.socket("/topics", "fairlead.v1.json")
		defer socket.CloseNow()
		socket.send(`{"id":1,"subscribe":"t","after":%q}`, after)
		socket.next()
		for range n {
			e := socket.next().Message.Event.Event()
			*got = append(*got, string(e.Data))
			after = e.Cursor
		}
		return after
	default:
		p := s.page(fmt.Sprint(path, "&limit=", n), "Prefer: wait=10")
		for _, v := range p.Events {
			e := v.Event()
			*got = append(*got, string(e.Data))
		}
		return p.Next
	}
}

func TestReadersThatDropAndSwitchTransportsMissAndRepeatNothing(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, serve func(deliver.Config) *site) {
		const total, readers = 400, 8
		s := serve(deliver.Config{})
		s.publish("t", "0")
		var group sync.WaitGroup
		for r := range readers {
			group.Go(func() {
				random := rand.New(rand.NewPCG(1, uint64(r)))
				after, got := fairlead.Earliest, []string(nil)
				for len(got) < total {
					after = take(s, random.IntN(4), after, min(1+random.IntN(40), total-len(got)), &got)
				}
				for i, data := range got {
					if data != fmt.Sprint(i) {
						t.Errorf("reader %d: event %d is %q", r, i, data)
						return
					}
				}
			})
		}
		group.Go(func() {
			for i := 1; i < total; i++ {
				put(s, fmt.Sprint(i))
				if i%7 == 0 {
					<-time.After(time.Millisecond)
				}
			}
		})
		group.Wait()
	})
}

func TestAClientThatAsksAndNeverReadsIsNotReadFurther(t *testing.T) {
	inBubble(t, deliver.Config{}, func(t *testing.T, b *bubble) {
		c := b.socket("/topics", "fairlead.v1.json")
		sent := 0
		done := make(chan struct{})
		go func() {
			defer close(done)
			for c.Write(websocket.Text, []byte(`{"id":1,"ping":true}`)) == nil {
				sent++
			}
		}()
		synctest.Wait()
		if sent > 100 {
			t.Errorf("%d messages were taken", sent)
		}
		began := time.Now()
		// Both ends wait for the other to read, equally long: either gives up.
		if e := <-b.ended; (e.Reason != fairlead.TooSlow && e.Reason != fairlead.Cancelled) || time.Since(began) > time.Minute {
			t.Errorf("after %s it ended with %+v", time.Since(began), e)
		}
		<-done
	})
}

func TestAPublisherWaitsForTheOneReader(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, serve func(deliver.Config) *site) {
		s := serve(deliver.Config{Topics: topic.NewStore(topic.StoreConfig{Policy: func(string) topic.Policy {
			return topic.Policy{Deliver: topic.Wait, Events: 2, WaitTimeout: 10 * time.Millisecond}
		}})})
		s.publish("t", "0")
		s.publish("t", "1")
		a := s.do("POST", "/topics/t", "2")
		if a.status != 503 || a.header.Get("Retry-After") == "" || !strings.Contains(a.body, `"overloaded"`) {
			t.Errorf("a publish to a full topic is %d %s", a.status, a.body)
		}
		stream := s.events("/topics/t?after=earliest")
		stream.expect("0", "1")
		for a.status == 503 { // until it counts as consumed
			a = s.do("POST", "/topics/t", "2")
		}
		stream.expect("2")
	})
}

func TestSessionsShowWhereTheirReadersStand(t *testing.T) {
	inBubble(t, deliver.Config{}, func(t *testing.T, b *bubble) {
		at := b.put("t", "0")
		resp := b.get("/topics/t?after=earliest")
		defer resp.Body.Close()
		socket := b.socket("/topics/t?after=" + string(at))
		defer socket.CloseNow()
		synctest.Wait()
		time.Sleep(time.Second)
		for _, i := range b.handler.Sessions(0) {
			want := deliver.TransportSSE
			if i.Resumed {
				want = deliver.TransportWebSocket
			}
			if i.Transport != want || len(i.Topics) != 1 || i.Topics[0].Topic != "t" || time.Since(i.Since) != time.Second || i.Remote == "" {
				t.Errorf("a session is %+v", i)
			}
		}
		if n := len(b.handler.Sessions(1)); n != 1 {
			t.Errorf("%d sessions are listed, of at most 1", n)
		}
	})
}
