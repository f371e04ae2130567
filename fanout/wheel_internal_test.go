//go:build linux

package fanout

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
	"unsafe"
)

func TestAWheelLooksAtEachFlowInTime(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var w wheel
	due := map[*flow]uint32{}
	for range 20_000 {
		switch random.IntN(4) {
		case 0, 1:
			f := &flow{}
			due[f] = w.now + uint32(random.IntN(3*wheelSlots))
			w.arm(f, due[f])
		case 2: // one is put off, put forward or taken out
			for f := range due {
				switch random.IntN(3) {
				case 0:
					due[f] += uint32(random.IntN(wheelSlots))
				case 1:
					due[f] = max(w.now, due[f]-uint32(random.IntN(min(int(due[f]), wheelSlots)+1)))
					w.arm(f, due[f])
				case 2:
					f.unlink()
					delete(due, f)
				}
				break
			}
		case 3:
			if next, ok := w.next(); ok && len(due) > 0 {
				for f, at := range due {
					if at >= w.now+1 && at < w.now+wheelSlots-1 && next > at {
						t.Fatalf("next is %d, but %p is due at %d", next, f, at)
					}
				}
			}
			w.advance(w.now+uint32(random.IntN(wheelSlots*3/2)), func(f *flow) {
				at, ok := due[f]
				switch {
				case !ok:
					t.Fatal("a flow that was taken out was looked at")
				case at > w.now:
					w.arm(f, at) // later than when it was armed, or further than a turn
				default:
					delete(due, f)
				}
			})
			for f, at := range due {
				if at < w.now {
					t.Fatalf("%p was due at %d, and it is %d", f, at, w.now)
				}
			}
		}
	}
}

func TestAlarmsComeInOrder(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	var a alarms
	var flows []*flow
	at := map[*flow]int64{}
	for range 500 {
		f := &flow{alarm: noAlarm}
		flows = append(flows, f)
	}
	for range 5000 {
		f := flows[random.IntN(len(flows))]
		if random.IntN(3) == 0 {
			a.remove(f)
			delete(at, f)
		} else {
			at[f] = random.Int64N(1000)
			a.put(f, at[f])
		}
	}
	if a.Len() != len(at) {
		t.Fatalf("%d alarms for %d flows", a.Len(), len(at))
	}
	var got []int64
	for a.Len() > 0 {
		f := a[0].flow
		if a[0].at != at[f] {
			t.Fatalf("an alarm at %d, want %d", a[0].at, at[f])
		}
		got = append(got, a[0].at)
		a.remove(f)
	}
	if !slices.IsSorted(got) {
		t.Error("not in order")
	}
}

func TestTheEarliestDeadlineIsTheOneThatCounts(t *testing.T) {
	const s = int64(time.Second)
	const ever = 1<<63 - 1
	for name, c := range map[string]*struct {
		opts           Options
		sent, received int64
		excused        uint32
		flow           flow
		at             int64
		do             why
	}{
		"nothing is asked for":                  {},
		"a sign of life":                        {opts: Options{Heartbeat: 15e9}, sent: 5 * s, at: 20 * s, do: beat},
		"not before the last and an interval":   {opts: Options{Heartbeat: 15e9}, sent: 5 * s, flow: flow{beat: 9 * s}, at: 24 * s, do: beat},
		"a tenth later":                         {opts: Options{Heartbeat: 10e9}, flow: flow{jitter: 1000}, at: 11 * s, do: beat},
		"a tenth earlier":                       {opts: Options{Heartbeat: 10e9}, flow: flow{jitter: -1000}, at: 9 * s, do: beat},
		"what is received is no matter":         {opts: Options{Heartbeat: 15e9}, sent: 5 * s, received: s, at: 20 * s, do: beat},
		"unless the client must speak":          {opts: Options{Heartbeat: 15e9, Silence: 40e9}, sent: 5 * s, received: s, at: 16 * s, do: beat},
		"which it has not":                      {opts: Options{Heartbeat: 15e9, Silence: 10e9}, sent: 5 * s, received: s, at: 11 * s, do: silent},
		"but is worked for":                     {opts: Options{Silence: 10e9}, flow: flow{job: &job{}}},
		"or may not":                            {opts: Options{Silence: 10e9}, received: s, flow: flow{backlog: &backlog{replies: replyBytes + 1}}, at: 30 * s, do: stalled},
		"a backlog":                             {opts: Options{Heartbeat: 15e9}, sent: 5 * s, flow: flow{backlog: &backlog{}}, at: 35 * s, do: stalled},
		"a backlog after a long silence":        {opts: Options{WriteTimeout: 2e9}, sent: 5 * s, flow: flow{backlog: &backlog{since: 50 * s}}, at: 52 * s, do: stalled},
		"an end within a time":                  {sent: 5 * s, flow: flow{backlog: &backlog{}, ending: &ending{until: 7 * s}}, at: 7 * s, do: stalled},
		"an end, whenever":                      {sent: 5 * s, flow: flow{backlog: &backlog{}, ending: &ending{}}, at: 35 * s, do: stalled},
		"never, near enough":                    {opts: Options{Heartbeat: ever, Silence: ever, WriteTimeout: ever}, sent: s, received: s, at: s + int64(forever), do: silent},
		"the time in which it was not heard":    {opts: Options{Silence: 10e9}, received: s, excused: 4000, at: 15 * s, do: silent},
		"nor asked":                             {opts: Options{Heartbeat: 15e9, Silence: 40e9}, sent: 50 * s, received: s, excused: 4000, at: 20 * s, do: beat},
		"one who sent too much":                 {opts: Options{Silence: 10e9, Burst: 1 << 20}, received: s, flow: flow{is: paced, unused: 1<<20 + paceBytes}, at: s + int64(2*paceTime), do: resumed},
		"and lingers, but not for so long":      {received: s, flow: flow{is: paced, unused: 2 * paceBytes, ending: &ending{until: s + 1, lingering: true}}, at: s + 1, do: lingered},
		"lingering":                             {opts: Options{Heartbeat: 1, Silence: 1}, flow: flow{ending: &ending{until: 9 * s, lingering: true}}, at: 9 * s, do: lingered},
		"ended, without a sign of life, or any": {opts: Options{Heartbeat: 1, Silence: 1}, flow: flow{ending: &ending{}}},
	} {
		f := &c.flow
		f.conn, f.opts = new(Conn), &c.opts
		f.conn.lastSent.Store(c.sent)
		f.conn.lastReceived.Store(c.received)
		f.conn.excused = c.excused
		if at, do := f.deadline(); at != c.at || do != c.do {
			t.Errorf("%s: %v at %v, want %v at %v", name, do, time.Duration(at), c.do, time.Duration(c.at))
		}
	}
}

func TestAnIdleConnectionIsSmall(t *testing.T) {
	const slot = unsafe.Sizeof((*flow)(nil))
	if n := unsafe.Sizeof(Conn{}) + slot; n > 200 {
		t.Errorf("an idle connection takes %d bytes", n)
	}
}

func TestALineIsInOrderAndKeepsToItsMemory(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	var l line[int]
	next, last := 0, 0
	for range 100_000 {
		if l.len() < 100 && random.IntN(2) == 0 {
			l.push(next)
			next++
		} else if l.len() > 0 {
			if got := l.pop(); got != last {
				t.Fatalf("%d came, want %d", got, last)
			}
			last++
		}
		if l.len() != next-last {
			t.Fatalf("%d are in the line, want %d", l.len(), next-last)
		}
	}
	if cap(l.all) > 1000 {
		t.Errorf("a line of at most 100 has memory for %d", cap(l.all))
	}
}
