package conformance_test

import (
	"crypto/tls"
	"strings"
	"testing"
	"time"
)

// sessions is a client's memory of TLS sessions that says when one is stored.
type sessions struct {
	tls.ClientSessionCache

	stored chan struct{}
}

func newSessions() *sessions {
	return &sessions{ClientSessionCache: tls.NewLRUClientSessionCache(4), stored: make(chan struct{}, 16)}
}

func (s *sessions) Put(key string, state *tls.ClientSessionState) {
	s.ClientSessionCache.Put(key, state)
	if state != nil {
		s.stored <- struct{}{}
	}
}

// wait returns when the server has given a ticket.
func (s *sessions) wait(t *testing.T) {
	t.Helper()
	select {
	case <-s.stored:
	case <-time.After(patience):
		t.Fatal("no session ticket came")
	}
}

// visit is a connection to a server, and whether the client's session of the one
// before is good there.
type visit struct {
	to   *server
	want bool
}

func visits(t *testing.T, all ...visit) {
	t.Helper()
	for _, version := range []struct {
		name      string
		max       uint16
		protocols []protocol
	}{
		{"TLS 1.2", tls.VersionTLS12, []protocol{h1, h2}},
		{"TLS 1.3", tls.VersionTLS13, []protocol{h1, h2, h3}},
	} {
		t.Run(version.name, func(t *testing.T) {
			t.Parallel()
			each(t, version.protocols, func(t *testing.T, p protocol) {
				conf, kept := authority().tls(), newSessions()
				conf.MaxVersion, conf.ClientSessionCache = version.max, kept
				for i, v := range all {
					res := p.get(t.Context(), t, p.client(t, conf), v.to.https+"/")
					whole(t, res.Body)
					if res.TLS.DidResume != v.want {
						t.Errorf("visit %d: the session was resumed: %v, want %v", i, res.TLS.DidResume, v.want)
					}
					if !res.TLS.DidResume || version.max == tls.VersionTLS13 {
						kept.wait(t)
					}
				}
			})
		})
	}
}

func TestAClientsTLSSessionIsResumed(t *testing.T) {
	t.Parallel()
	s, other := edge(t, ""), edge(t, "")
	visits(t, visit{s, false}, visit{s, true}, visit{s, true}, visit{other, false})
}

func TestAFleetResumesItsClientsTLSSessions(t *testing.T) {
	t.Parallel()
	secret := file(t, "tickets.key", strings.Repeat("0a1b2c3d", 8)+"\n")
	var fleet [2]*server
	for i := range fleet {
		fleet[i] = edgeTLS(t, "ticket_keys: "+secret, "")
	}
	visits(t, visit{fleet[0], false}, visit{fleet[1], true}, visit{fleet[0], true})
}
