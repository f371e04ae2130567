package listen

import (
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// How long keys seal new tickets. After that they open tickets for as long
// again, so that a ticket is good for 12 to 24 hours. A session of TLS 1.2 that
// is resumed again and again gets new tickets for 7 days, then crypto/tls begins
// another.
const epochLength = 12 * time.Hour

// Keyring holds the keys of session tickets (RFC 9846, section 4.6.1; RFC 5077),
// the same for TCP and QUIC. New ones are used from 0:00 and 12:00 UTC on; a
// session of the time before can still be resumed, and one of the time to come,
// of a server whose clock is ahead. Servers that share a ring resume each
// other's sessions. Its methods may be called concurrently.
type Keyring struct {
	files *files // nil without a key file
	ring  atomic.Pointer[ring]

	mu      sync.Mutex
	secrets secrets
}

// secrets are what all keys are derived from.
type secrets struct {
	// Shared are those of a key file, from which keys of any time can be
	// derived. The first is for what is new.
	Shared [][]byte `json:"shared,omitempty"`
	// Random are those of a ring without a file, by epoch: at most three, since
	// those that are over are forgotten.
	Random map[int64][]byte `json:"random,omitempty"`
	// Fixed is for keys that stay, where there is no file.
	Fixed []byte `json:"fixed,omitempty"`
}

// NewKeyring returns a ring of random keys. Each is forgotten when it opens
// tickets no more, or when the ring is used for the first time after that; then
// what was recorded of sessions cannot be opened with anything that the process
// knows.
func NewKeyring() *Keyring {
	return &Keyring{secrets: secrets{Random: make(map[int64][]byte), Fixed: randomSecret()}}
}

// LoadKeyring returns the ring of a key file, which all servers of a fleet
// have. Each line is a secret of at least 32 bytes in hex or base64, such as
// openssl rand -hex 32 prints; empty lines and those that begin with # are
// skipped. Keys are derived from the first, tickets are accepted of all, at
// most 16.
//
// Whoever has the file can open what was recorded of TLS 1.2 sessions, and the
// early data of QUIC; so change it from time to time: add the new secret as the
// last line on every server, then make it the first, and a day later remove the
// old one. The file is read again when it changes, at most every 10 s; if it is
// then broken, what was read before is used on and the server logs it.
func LoadKeyring(file string) (*Keyring, error) {
	k := new(Keyring)
	read := func() error {
		shared, err := readKeyFile(file)
		if err != nil {
			return err
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		k.secrets = secrets{Shared: shared}
		k.ring.Store(nil)
		return nil
	}
	var err error
	if k.files, err = follow([]string{file}, read, func() []string { return openToOthers(file) }); err != nil {
		return nil, err
	}
	return k, nil
}

// ImportKeyring returns the ring that [Keyring.Export] was called on, with what
// it knew then.
func ImportKeyring(exported []byte) (*Keyring, error) {
	k := new(Keyring)
	if err := json.Unmarshal(exported, &k.secrets); err != nil {
		return nil, fmt.Errorf("listen: keyring: not what Export returned: %w", err)
	}
	s := &k.secrets
	all := slices.AppendSeq(slices.Clone(s.Shared), maps.Values(s.Random))
	if len(s.Shared) == 0 {
		all = append(all, s.Fixed)
	}
	if len(all) > maxSecrets || slices.ContainsFunc(all, func(secret []byte) bool { return len(secret) < secretSize }) {
		return nil, errors.New("listen: keyring: not what Export returned: secrets are missing")
	}
	if s.Random == nil {
		s.Random = make(map[int64][]byte)
	}
	return k, nil
}

// Export returns the ring's secrets, for a process that takes over from this
// one: pass it through a pipe, not through the environment or a file. A ring of a
// key file is better loaded from the file, which the imported ring does not
// follow.
func (k *Keyring) Export() []byte {
	k.current() // so that there is something to seal with
	k.mu.Lock()
	defer k.mu.Unlock()
	b, err := json.Marshal(k.secrets)
	if err != nil {
		panic(err) // bytes and numbers
	}
	return b
}

// Reload reads the key file now, if there is one. On an error, which says what
// is wrong with it, the ring stays as it was.
func (k *Keyring) Reload() error {
	if k.files == nil {
		return nil
	}
	return k.files.reload()
}

// statelessReset returns the key of QUIC's stateless resets (RFC 9000, section
// 10.3), the same for all servers that have the ring.
func (k *Keyring) statelessReset() [secretSize]byte { return k.fixed("quic stateless reset") }

// token returns the key of QUIC's address validation tokens (RFC 9000, section
// 8.1.3), the same for all servers that have the ring.
func (k *Keyring) token() [secretSize]byte { return k.fixed("quic token") }

func (k *Keyring) fixed(use string) [secretSize]byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	secret := k.secrets.Fixed
	if len(k.secrets.Shared) > 0 {
		secret = k.secrets.Shared[0]
	}
	return [secretSize]byte(derive(secret, use, secretSize))
}

// install has a configuration use the ring. Unlike SetSessionTicketKeys this
// survives that it is cloned.
func (k *Keyring) install(c *tls.Config) {
	c.WrapSession, c.UnwrapSession = k.wrap, k.unwrap
}

// wrap makes a ticket of a session, with what QUIC keeps in it.
func (k *Keyring) wrap(_ tls.ConnectionState, session *tls.SessionState) ([]byte, error) {
	state, err := session.Bytes()
	if err != nil {
		return nil, fmt.Errorf("listen: keyring: %w", err)
	}
	return k.current().seal(state), nil
}

// unwrap returns the session of a ticket, or nil for a full handshake.
func (k *Keyring) unwrap(ticket []byte, _ tls.ConnectionState) (*tls.SessionState, error) {
	state := k.current().open(ticket)
	if state == nil {
		return nil, nil
	}
	session, err := tls.ParseSessionState(state)
	if err != nil {
		return nil, nil //nolint:nilerr // of another version of Go, which may share the ring
	}
	return session, nil
}

// current returns the keys for now.
func (k *Keyring) current() *ring {
	if k.files != nil {
		k.files.look()
	}
	epoch := time.Now().UnixNano() / int64(epochLength)
	if r := k.ring.Load(); r != nil && r.epoch == epoch {
		return r
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.secrets.turn(epoch)
	r := newRing(epoch, &k.secrets)
	k.ring.Store(r)
	return r
}

// turn makes the secret of an epoch, and forgets those that are over.
func (s *secrets) turn(epoch int64) {
	if len(s.Shared) > 0 {
		return
	}
	if s.Random[epoch] == nil {
		s.Random[epoch] = randomSecret()
	}
	for e, secret := range s.Random {
		if e < epoch-1 || e > epoch+1 {
			clear(secret)
			delete(s.Random, e)
		}
	}
}

func randomSecret() []byte {
	secret := make([]byte, secretSize)
	_, _ = rand.Read(secret) // never fails
	return secret
}
