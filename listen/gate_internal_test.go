package listen

import (
	"log/slog"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

func TestClientsAreForgottenAndNeverTooMany(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGate(Limits{PerAddress: 2, Rate: 10}, slog.New(slog.DiscardHandler))
		prefix := netip.MustParseAddr("2001:db8::").As16()
		admit := func(from, n int) (conns []*connection) {
			for i := from; i < from+n; i++ {
				a := prefix
				a[5], a[6], a[7] = byte(i>>16), byte(i>>8), byte(i) //nolint:gosec // its parts
				c := new(connection)
				if !g.admit(c, netip.AddrFrom16(a)) || c.refusal() != nil {
					t.Fatalf("client %d was refused", i)
				}
				conns = append(conns, c)
			}
			return conns
		}
		all := admit(0, maxClients+1000)
		if n := len(g.clients.of); n != maxClients {
			t.Errorf("%d clients are known", n)
		}
		for _, c := range all {
			g.leave(&c.place)
			g.leave(&c.place) // of no effect
		}
		time.Sleep(time.Second)
		for _, c := range admit(1<<20, 3000) {
			g.leave(&c.place)
		}
		if n := len(g.clients.of); n > 4000 {
			t.Errorf("%d clients are still known", n)
		}
		s := g.stats()
		if s.Opened != maxClients+4000 || s.Closed != s.Opened || s.Unknown != 0 || g.served != 0 {
			t.Errorf("%+v, %d served", s, g.served)
		}
	})
}

func TestTheClientOfAProxiedConnectionIsCountedWhenItIsKnown(t *testing.T) {
	t.Parallel()
	client := netip.MustParseAddr("192.0.2.1")
	g := newGate(Limits{PerAddress: 1, Exempt: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}}, slog.New(slog.DiscardHandler))
	var conns [3]connection
	for i := range conns {
		if !g.admit(&conns[i], netip.Addr{}) || conns[i].refusal() != nil {
			t.Fatal("refused before the client was known")
		}
	}
	exempt := netip.MustParseAddr("198.51.100.7")
	if !g.identify(&conns[0], client) || !g.identify(&conns[1], client) || !g.identify(&conns[2], exempt) {
		t.Error("one is not to be answered")
	}
	for i, want := range []*Refusal{nil, tooManyOfClient, nil} {
		if conns[i].refusal() != want {
			t.Errorf("%d: %v", i, conns[i].refusal())
		}
	}
	quiet := connection{mute: true}
	if g.admit(&quiet, client) {
		t.Error("one that cannot be answered is")
	}
	for i := range conns {
		g.leave(&conns[i].place)
	}
	g.leave(&quiet.place)
	if s := g.stats(); s.Opened != 4 || s.Closed != 4 || s.PerAddress != 2 || s.Dropped != 1 || s.Unknown != 0 || g.served+g.answered != 0 {
		t.Errorf("%+v", s)
	}
}

func TestSoManyAreToldASecondWhyTheyAreRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGate(Limits{Connections: 1}, slog.New(slog.DiscardHandler))
		g.admit(new(connection), netip.Addr{})
		told := func() (n int) {
			for range 1000 {
				c := new(connection)
				if g.admit(c, netip.Addr{}) {
					n++
					g.leave(&c.place)
				}
			}
			return n
		}
		if n := told(); n != maxAnswers {
			t.Errorf("%d were told", n)
		}
		time.Sleep(time.Second / 2)
		if n := told(); n != maxAnswers/2 {
			t.Errorf("%d were told in the next half of a second", n)
		}
	})
}

func TestTheDefaultLeavesDescriptorsToOthers(t *testing.T) {
	t.Parallel()
	l := Limits{Rate: -1, HeaderBytes: -1}.withDefaults()
	n, ok := descriptors()
	if ok && l.Connections != max(100, int(n/5*4)) || l.Connections < 100 { //nolint:gosec // a limit of this machine
		t.Errorf("%d connections of %d descriptors", l.Connections, n)
	}
	if l.Rate != -1 || l.PerAddress != 1000 || l.Streams != 250 || l.HeaderBytes != 1<<30 {
		t.Errorf("%+v", l)
	}
}

func TestAClientPaysForAConnectionThatOnlyGaveRequestsUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGate(Limits{Rate: 100}, slog.New(slog.DiscardHandler))
		attacker, other := netip.MustParseAddr("198.51.100.7"), netip.MustParseAddr("198.51.100.8")
		c := new(connection)
		if !g.admit(c, attacker) || c.refusal() != nil {
			t.Fatal("the first is refused")
		}
		for range 60 {
			g.charge(c, floodPrice)
		}
		comes := func(from netip.Addr) bool {
			c := new(connection)
			return g.admit(c, from) && c.refusal() == nil
		}
		if comes(attacker) || !comes(other) {
			t.Error("the attacker comes back at once, or another client does not come")
		}
		time.Sleep(maxDebt - time.Millisecond)
		if comes(attacker) {
			t.Error("the attacker comes back too soon")
		}
		time.Sleep(time.Second)
		if !comes(attacker) {
			t.Error("the attacker stays away for ever")
		}
	})
}
