package upstream

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

func header(name, value string) *http.Request {
	return &http.Request{Header: http.Header{name: {value}}}
}

func TestAValueStaysWithItsEndpoint(t *testing.T) {
	t.Parallel()
	b, all, now := mustBalancer(t, "hash header x-tenant"), loads(5), time.Now()
	other, reversed := mustBalancer(t, "hash header X-Tenant"), loads(5) // another process
	reversed[0], reversed[3] = reversed[3], reversed[0]
	got := map[string]int{}
	for i := range 10_000 {
		r := header("X-Tenant", fmt.Sprint("tenant-", i))
		l := b.pick(r, all, now)
		got[l.key]++
		if o := other.pick(r, reversed, now); o.key != l.key {
			t.Fatalf("tenant %d is at %s here and at %s there", i, l.key, o.key)
		}
		if less := b.pick(r, all[1:], now); l != all[0] && less != l {
			t.Fatalf("tenant %d moved from %s to %s when %s went away", i, l.key, less.key, all[0].key)
		}
	}
	for key, n := range got {
		if n < 1800 || n > 2200 {
			t.Errorf("%s got %d of 10,000 tenants", key, n)
		}
	}
	// To change this table moves every tenant of every installation.
	for value, want := range map[string]string{"a": all[2].key, "b": all[3].key, "c": all[1].key} {
		if l := b.pick(header("X-Tenant", value), all, now); l.key != want {
			t.Errorf("%s is at %s, and was at %s", value, l.key, want)
		}
	}
}

func TestHashLooksAtItsSource(t *testing.T) {
	t.Parallel()
	all, now := loads(8), time.Now()
	long := strings.Repeat("x", maxHashed)
	for policy, requests := range map[string][2]*http.Request{
		"hash cookie session": {header("Cookie", "a=1; session=s7"), header("Cookie", "session=s7; a=2")},
		"hash header host":    {{Host: "shop.example"}, {Host: "shop.example", Header: http.Header{"Host": {"x"}}}},
		"hash header x-long":  {header("X-Long", long+"a"), header("X-Long", long+"b")},
	} {
		b := mustBalancer(t, policy)
		for range 20 { // p2c would differ soon
			if one, two := b.pick(requests[0], all, now), b.pick(requests[1], all, now); one != two {
				t.Errorf("%s: %s and %s", policy, one.key, two.key)
				break
			}
		}
		got := map[*load]bool{}
		for range 200 {
			l := b.pick(&http.Request{}, all, now)
			l.begin()
			got[l] = true
		}
		if len(got) != len(all) {
			t.Errorf("%s: requests without it went to %d of %d endpoints", policy, len(got), len(all))
		}
	}
}

// setCookie returns the one cookie that stick adds, nil if there is none.
func setCookie(t *testing.T, b *balancer, r *http.Request, l *load) *http.Cookie {
	t.Helper()
	res := &http.Response{StatusCode: http.StatusSwitchingProtocols, Header: http.Header{}}
	b.stick(r, res, l)
	switch cookies := res.Cookies(); len(cookies) {
	case 0:
		return nil
	case 1:
		return cookies[0]
	default:
		t.Fatalf("%d cookies", len(cookies))
		return nil
	}
}

func TestAStickyClientComesBackUntilItsEndpointIsGone(t *testing.T) {
	t.Parallel()
	b, all, now := mustBalancer(t, "sticky"), loads(4), time.Now()
	r := header("Accept", "*/*")
	l := b.pick(r, all, now)
	c := setCookie(t, b, r, l)
	if c == nil || c.Name != "fairlead_endpoint" || len(c.Value) != 16 || c.Path != "/" || !c.HttpOnly || c.Secure ||
		c.SameSite != http.SameSiteLaxMode || c.MaxAge != 0 {
		t.Fatalf("the cookie is %v", c)
	}
	again := header("Cookie", "theme=dark; "+c.Name+"="+c.Value)
	for range 100 {
		if back := b.pick(again, all, now); back != l {
			t.Fatalf("it came back to %s instead of %s", back.key, l.key)
		}
	}
	if c := setCookie(t, b, again, l); c != nil {
		t.Errorf("a client that has the cookie got %v", c)
	}
	rest := make([]*load, 0, len(all))
	for _, e := range all {
		if e != l {
			rest = append(rest, e)
		}
	}
	moved := b.pick(again, rest, now)
	if next := setCookie(t, b, again, moved); moved == l || next == nil || next.Value == c.Value {
		t.Errorf("its endpoint gone, it went to %s with %v", moved.key, next)
	}
}

func TestAStickyCookieIsSecureOverHTTPS(t *testing.T) {
	t.Parallel()
	b, l := mustBalancer(t, "sticky at"), loads(1)[0]
	for proto, want := range map[string]bool{"https": true, "HTTPS, http": true, "http": false, "http, https": false, "": false} {
		c := setCookie(t, b, header("X-Forwarded-Proto", proto), l)
		if c == nil || c.Name != "at" || c.Secure != want {
			t.Errorf("X-Forwarded-Proto %q: %v", proto, c)
		}
	}
	if c := setCookie(t, mustBalancer(t, "p2c"), &http.Request{}, l); c != nil {
		t.Errorf("p2c set %v", c)
	}
}
