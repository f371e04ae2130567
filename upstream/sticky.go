package upstream

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"net/http"
	"strings"
)

// maxHashed is how many bytes of a client's value are hashed.
const maxHashed = 4 << 10

// identify derives from the key what stands for the endpoint in cookies and
// hashes: the same on every node and after every start.
func (l *load) identify() {
	l.once.Do(func() {
		sum := sha256.Sum256([]byte(l.key))
		l.cookie = hex.EncodeToString(sum[:8])
		l.seed = binary.BigEndian.Uint64(sum[8:])
	})
}

// value returns what the request carries in the field or cookie of the policy;
// "" if there is nothing.
func (b *balancer) value(r *http.Request) string {
	switch {
	case b.header == "Host": // net/http keeps it apart
		return r.Host
	case b.header != "":
		return r.Header.Get(b.header)
	}
	c, err := r.Cookie(b.cookie)
	if err != nil {
		return ""
	}
	return c.Value
}

// rendezvous returns the endpoint with the highest score for value (rendezvous
// hashing, Thaler and Ravishankar 1998): without one endpoint only its own
// values move, in equal parts to the others. A slow start has no say in it.
func rendezvous(value string, from []*load) *load {
	hash := uint64(14695981039346656037) // FNV-1a
	for _, c := range []byte(value[:min(len(value), maxHashed)]) {
		hash = (hash ^ uint64(c)) * 1099511628211
	}
	var best *load
	var highest uint64
	for _, l := range from {
		l.identify()
		score := mix(hash ^ l.seed)
		if best == nil || score > highest || score == highest && l.key < best.key {
			best, highest = l, score
		}
	}
	return best
}

// mix spreads each bit over all (the finalizer of SplitMix64): FNV alone
// leaves the high bits of short values alike.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// named returns the endpoint that a cookie's value names; nil if it is not
// among from.
func named(value string, from []*load) *load {
	if value == "" {
		return nil
	}
	for _, l := range from {
		if l.identify(); l.cookie == value {
			return l
		}
	}
	return nil
}

// stick has the client come back to l: it adds the cookie to res if the policy
// is sticky and the request came without it. The cookie ends with the client's
// session. Its value is a digest of the endpoint, so it shows no address, but
// who knows the scheme can try addresses against it.
func (b *balancer) stick(r *http.Request, res *http.Response, l *load) {
	if b.policy != policySticky {
		return
	}
	if l.identify(); b.value(r) == l.cookie {
		return
	}
	proto, _, _ := strings.Cut(r.Header.Get("X-Forwarded-Proto"), ",")
	c := http.Cookie{ //nolint:gosec // Secure over HTTPS only: over HTTP it would never come back
		Name: b.cookie, Value: l.cookie, Path: "/",
		HttpOnly: true, SameSite: http.SameSiteLaxMode,
		Secure: r.TLS != nil || strings.EqualFold(strings.TrimSpace(proto), "https"),
	}
	res.Header.Add("Set-Cookie", c.String())
}
